"""Aligned text tables: the only table renderer for terminals and logs.

Cells may come from outside (task names, error messages), so every cell is reduced to one line of printable
characters before it is laid out. Long cells wrap inside their column, so no line exceeds the given width.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final, NamedTuple

import click

__all__ = ["LOG_WIDTH", "Cell", "Column", "output_width", "render_fields", "render_table", "single_line", "use_color"]

LOG_WIDTH: Final = 120
"""Columns for output that is not a terminal and has no width of its own."""

_GAP: Final = 2
"""Spaces between two columns."""
_NARROWEST: Final = 8
"""Columns are shrunk to this width before any of them is shrunk further."""


class Cell(NamedTuple):
    """Text with the style that it has where colours are used."""

    text: str
    color: str | None = None
    """A colour name of `click.style`."""
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    header: str
    right: bool = False
    """Align to the right, for figures that are compared by their digits."""
    min_width: int = 0
    """Width that is kept as long as the other columns can be shrunk."""


def single_line(value: object) -> str:
    """Replace control characters and line breaks by spaces: outside text cannot control a terminal."""
    text = str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def output_width(stream: IO[str]) -> int:
    """Return the width for output to `stream`: `COLUMNS`, else the terminal's, else `LOG_WIDTH`."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or LOG_WIDTH
    except (OSError, ValueError):  # not a terminal, or without a descriptor
        return LOG_WIDTH


def use_color(stream: IO[str]) -> bool:
    """Return whether output to `stream` is coloured; `NO_COLOR` and `FORCE_COLOR` override the terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def render_table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    width: int | None = None,
    color: bool = False,
    header: bool = True,
) -> str:
    """Lay out rows under their headers; columns that are empty in every row are left out.

    Args:
        columns: headers, left to right; a string is a left-aligned column.
        rows: one cell per column.
        width: characters per line at most; None never wraps.
        color: apply the styles of the cells.
        header: print the headers.

    Returns:
        The lines, joined, without a final line break; empty without rows.
    """
    layout = [column if isinstance(column, Column) else Column(header=column) for column in columns]
    cells = [[_clean(cell) for cell in row] for row in rows]
    used = [index for index in range(len(layout)) if any(row[index].text for row in cells)]
    layout, cells = [layout[index] for index in used], [[row[index] for index in used] for row in cells]
    lines = [[Cell(single_line(column.header), bold=True) for column in layout], *cells] if header else cells
    natural = [max((_width(line[index].text) for line in lines), default=0) for index in range(len(layout))]
    widths = natural if width is None else _shrink(natural, [column.min_width for column in layout], width)
    return "\n".join(text for line in lines for text in _row(line, layout, widths, color=color)) if cells else ""


def render_fields(fields: Mapping[str, object], *, indent: int = 0) -> str:
    """Lay out names and values in two columns; fields without a value (None or empty) are left out."""
    present = {name: single_line(value) for name, value in fields.items() if value not in {None, ""}}
    names = max(map(len, present), default=0)
    return "\n".join(f"{' ' * indent}{name:<{names}}{' ' * _GAP}{value}" for name, value in present.items())


def _clean(cell: Cell | str) -> Cell:
    if isinstance(cell, str):
        return Cell(single_line(cell))
    return Cell(single_line(cell.text), cell.color, cell.bold)


def _shrink(natural: Sequence[int], minimum: Sequence[int], width: int) -> list[int]:
    """Take width from the widest columns until the line fits: first down to `minimum`, then below it."""
    widths = list(natural)
    available = max(width - _GAP * (len(widths) - 1), len(widths))
    for least in ([max(_NARROWEST, needed) for needed in minimum], [_NARROWEST] * len(widths), [1] * len(widths)):
        while sum(widths) > available:
            index = max(range(len(widths)), key=lambda number: (widths[number] > least[number], widths[number]))
            if widths[index] <= least[index]:
                break
            widths[index] -= 1
    return widths


def _row(cells: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], *, color: bool) -> Iterator[str]:
    """Yield the lines of one row."""
    wrapped = [list(_wrap(cell.text, width)) for cell, width in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped), default=0)):
        parts = []
        for cell, column, width, lines in zip(cells, columns, widths, wrapped, strict=True):
            text = lines[number] if number < len(lines) else ""
            blank = " " * (width - _width(text))
            styled = click.style(text, fg=cell.color, bold=cell.bold or None) if color and text else text
            parts.append(blank + styled if column.right else styled + blank)
        yield (" " * _GAP).join(parts).rstrip()


def _wrap(text: str, width: int) -> Iterator[str]:
    """Yield lines of at most `width` columns, broken between words, and inside words that are longer."""
    if _width(text) <= width:
        yield text
        return
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if _width(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        line = word
        while _width(line) > width:
            end = _fitting(line, width)
            yield line[:end]
            line = line[end:]
    yield line


def _fitting(text: str, width: int) -> int:
    """Return how many characters of `text` fit into `width` columns, at least one."""
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > width:
            return max(index, 1)
    return len(text)


def _width(text: str) -> int:
    """Return the columns that `text` takes in a terminal; East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else 0 if unicodedata.combining(character) else 1
        for character in text
    )
