"""Difference between a sheet and the rows that it must contain, as a pure function.

Rows are found by their key and columns by their headers, so that people may add columns, sort rows and move both.
Only the exporter's own cells are written; new columns are added on the right and new rows at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nel_action.exporters.gsheets.rows import KEY, Cell
from nel_action.exporters.interface import Change

__all__ = ["Changes", "Sheet", "changes_for"]

_FIELDS: Final = "userEnteredValue"
_NEW_SHEET_ROWS: Final = 1_000
"""Rows of a new sheet; Google adds rows as needed."""
Request = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Current content of a sheet."""

    id: int
    columns: int
    """Width of the grid."""
    values: Sequence[Sequence[Any]]
    """Unformatted rows from the top; the first one contains the headers."""
    new_title: str | None = None
    """Title of a sheet that does not exist yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Changes of one request."""

    requests: tuple[Request, ...]
    """For `spreadsheets.batchUpdate`, which applies all of them or none."""
    jobs: Mapping[str, Change]
    """Effect on the row of each job, by job id."""


def changes_for(sheet: Sheet, rows: Sequence[Mapping[str, Cell]]) -> Changes:
    """Return the requests that make the sheet contain the rows.

    Args:
        sheet: current content.
        rows: cells by header; each row has a value for `KEY`.
    """
    headers = [str(header) for header in sheet.values[0]] if sheet.values else []
    new_headers = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in headers]
    # NOTE: of two columns with the same header the first one is used, the other is left alone.
    columns = {name: column for column, name in reversed(list(enumerate([*headers, *new_headers])))}
    row_of = _row_numbers(sheet, columns[KEY])
    jobs: dict[str, Change] = {}
    updates: list[Request] = []
    added: list[Request] = []
    for row in rows:
        key = str(row[KEY])
        if key in row_of:
            changed = list(_updates(sheet, row_of[key], row, columns))
            updates += changed
            jobs[key] = Change.UPDATED if changed else Change.UNCHANGED
        else:
            added.append({"values": _new_row(row, columns)})
            jobs[key] = Change.CREATED
    append = [{"appendCells": {"sheetId": sheet.id, "rows": added, "fields": _FIELDS}}] if added else []
    return Changes(requests=(*_header_requests(sheet, len(headers), new_headers), *updates, *append), jobs=jobs)


def _row_numbers(sheet: Sheet, column: int) -> dict[str, int]:
    """Return the row of each key; the first one if there are several."""
    keys = [str(row[column]) if column < len(row) else "" for row in sheet.values]
    return {key: number for number, key in reversed(list(enumerate(keys))) if number and key}


def _header_requests(sheet: Sheet, start: int, new_headers: Sequence[str]) -> Iterator[Request]:
    missing = start + len(new_headers) - sheet.columns
    if sheet.new_title is not None and new_headers:
        grid = {"rowCount": _NEW_SHEET_ROWS, "columnCount": len(new_headers)}
        yield {"addSheet": {"properties": {"sheetId": sheet.id, "title": sheet.new_title, "gridProperties": grid}}}
    elif new_headers and missing > 0:
        yield {"appendDimension": {"sheetId": sheet.id, "dimension": "COLUMNS", "length": missing}}
    if new_headers:
        yield _write(sheet, 0, start, new_headers)


def _updates(sheet: Sheet, number: int, row: Mapping[str, Cell], columns: Mapping[str, int]) -> Iterator[Request]:
    """Yield requests for the changed cells of a row, one for each group of adjacent cells."""
    current = sheet.values[number]
    changed = {
        columns[name]: value
        for name, value in row.items()
        if not _equal(current[columns[name]] if columns[name] < len(current) else "", value)
    }
    group: list[Cell] = []
    for column in sorted(changed):
        group.append(changed[column])
        if column + 1 not in changed:
            yield _write(sheet, number, column - len(group) + 1, group)
            group = []


def _equal(old: Any, new: Cell) -> bool:  # noqa: ANN401 - any cell value
    if new is None:
        return old in {"", None}
    if isinstance(new, str) or isinstance(old, bool) or not isinstance(old, int | float):
        return bool(old == new)
    return math.isclose(old, new, rel_tol=1e-12)


def _new_row(row: Mapping[str, Cell], columns: Mapping[str, int]) -> list[Request]:
    cells: list[Request] = [{}] * (1 + max(columns[name] for name in row))
    for name, value in row.items():
        cells[columns[name]] = _cell(value)
    return cells


def _write(sheet: Sheet, row: int, column: int, values: Sequence[Cell]) -> Request:
    start = {"sheetId": sheet.id, "rowIndex": row, "columnIndex": column}
    return {
        "updateCells": {"start": start, "rows": [{"values": [_cell(value) for value in values]}], "fields": _FIELDS}
    }


def _cell(value: Cell) -> Request:
    # NOTE: a string value is never evaluated as a formula, whatever the name of a model is.
    if value is None:
        return {}
    return {_FIELDS: {"stringValue": value} if isinstance(value, str) else {"numberValue": value}}
