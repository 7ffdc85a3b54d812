"""What must change in a sheet: a pure function of what stands in it and what should.

Rows are found by their key and columns by their heads, so that people may add columns, sort rows and move
things about. Only our own cells are ever written; new heads go to the right and new rows to the end.
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
_ROWS: Final = 1_000
"""Rows of a new tab; it grows as rows are added."""
Request = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A tab as it is."""

    id: int
    columns: int
    """Width of its grid."""
    values: Sequence[Sequence[Any]]
    """Rows from the top, unformatted; the first one holds the heads."""
    new: str | None = None
    """Title of a tab that is to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """One call's worth of changes."""

    requests: tuple[Request, ...]
    """For `spreadsheets.batchUpdate`: all of them happen or none."""
    jobs: Mapping[str, Change]
    """What that does to each job's row."""


def changes_for(sheet: Sheet, rows: Sequence[Mapping[str, Cell]]) -> Changes:
    """Work out the requests that make the sheet hold these rows."""
    heads = [str(head) for head in sheet.values[0]] if sheet.values else []
    fresh = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in heads]
    # NOTE: the first of two columns with one name is ours; the other is left alone.
    places = {name: place for place, name in reversed(list(enumerate([*heads, *fresh])))}
    known = _known(sheet, places[KEY])
    jobs: dict[str, Change] = {}
    updates: list[Request] = []
    added: list[Request] = []
    for row in rows:
        key = str(row[KEY])
        if key in known:
            changed = list(_updates(sheet, known[key], row, places))
            updates += changed
            jobs[key] = Change.UPDATED if changed else Change.UNCHANGED
        else:
            added.append({"values": _new_row(row, places)})
            jobs[key] = Change.CREATED
    append = [{"appendCells": {"sheetId": sheet.id, "rows": added, "fields": _FIELDS}}] if added else []
    return Changes(requests=(*_heads(sheet, len(heads), fresh), *updates, *append), jobs=jobs)


def _known(sheet: Sheet, column: int) -> dict[str, int]:
    """Find each key's row; of several with one key, the first."""
    keys = [str(row[column]) if column < len(row) else "" for row in sheet.values]
    return {key: place for place, key in reversed(list(enumerate(keys))) if place and key}


def _heads(sheet: Sheet, start: int, fresh: Sequence[str]) -> Iterator[Request]:
    missing = start + len(fresh) - sheet.columns
    if sheet.new is not None and fresh:
        grid = {"rowCount": _ROWS, "columnCount": len(fresh)}
        yield {"addSheet": {"properties": {"sheetId": sheet.id, "title": sheet.new, "gridProperties": grid}}}
    elif fresh and missing > 0:
        yield {"appendDimension": {"sheetId": sheet.id, "dimension": "COLUMNS", "length": missing}}
    if fresh:
        yield _write(sheet, 0, start, fresh)


def _updates(sheet: Sheet, place: int, row: Mapping[str, Cell], places: Mapping[str, int]) -> Iterator[Request]:
    """Write changed cells, each run of neighbours in one request."""
    before = sheet.values[place]
    changed = {
        places[name]: value
        for name, value in row.items()
        if not _same(before[places[name]] if places[name] < len(before) else "", value)
    }
    run: list[Cell] = []
    for column in sorted(changed):
        run.append(changed[column])
        if column + 1 not in changed:
            yield _write(sheet, place, column - len(run) + 1, run)
            run = []


def _same(old: Any, new: Cell) -> bool:  # noqa: ANN401 - whatever stands in the cell
    if new is None:
        return old in {"", None}
    if isinstance(new, str) or isinstance(old, bool) or not isinstance(old, int | float):
        return bool(old == new)
    return math.isclose(old, new, rel_tol=1e-12)


def _new_row(row: Mapping[str, Cell], places: Mapping[str, int]) -> list[Request]:
    cells: list[Request] = [{}] * (1 + max(places[name] for name in row))
    for name, value in row.items():
        cells[places[name]] = _cell(value)
    return cells


def _write(sheet: Sheet, row: int, column: int, values: Sequence[Cell]) -> Request:
    start = {"sheetId": sheet.id, "rowIndex": row, "columnIndex": column}
    return {
        "updateCells": {"start": start, "rows": [{"values": [_cell(value) for value in values]}], "fields": _FIELDS}
    }


def _cell(value: Cell) -> Request:
    # NOTE: a string value is never read as a formula, whatever a model is called.
    if value is None:
        return {}
    return {_FIELDS: {"stringValue": value} if isinstance(value, str) else {"numberValue": value}}
