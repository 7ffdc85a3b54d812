"""One spreadsheet: found or made, read, and written in one call that happens as a whole or not at all."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nel_action.exporters.gsheets.changes import Changes, Sheet, changes_for
from nel_action.exporters.gsheets.optimistic_lock import next_turn, turn_of
from nel_action.exporters.gsheets.rows import Cell, GsheetsSettings
from nel_action.exporters.interface import DestinationError

if TYPE_CHECKING:
    import gspread

__all__ = ["bring_up_to_date", "found_or_made"]

_BOOKS: Final = "https://sheets.googleapis.com/v4/spreadsheets"
_FILES: Final = "https://www.googleapis.com/drive/v3/files"
_TURNS: Final = 8
"""Times that another export may come first."""
_REFUSED: Final = 400


def found_or_made(client: gspread.Client, settings: GsheetsSettings) -> tuple[gspread.Spreadsheet, bool]:
    """Open the spreadsheet; one that is named by its title is made where there is none. Return whether it was."""
    import gspread

    if settings.spreadsheet_id:
        return client.open_by_key(settings.spreadsheet_id), False
    try:
        return client.open(settings.spreadsheet_name), False
    except gspread.exceptions.SpreadsheetNotFound:
        made = _make(client, settings)
    for address in settings.share_with:
        # NOTE: not through gspread's own call, which sends a key that Drive's description does not have.
        permission = {"type": "user", "role": "writer", "emailAddress": address}
        quiet = {"sendNotificationEmail": "false"}
        client.http_client.request("post", f"{_FILES}/{made.id}/permissions", params=quiet, json=permission)
    return made, True


def _make(client: gspread.Client, settings: GsheetsSettings) -> gspread.Spreadsheet:
    tabs = [{"properties": {"title": settings.worksheet}}] if settings.worksheet else []
    body = {"properties": {"title": settings.spreadsheet_name}, "sheets": tabs}
    answer = client.http_client.request("post", _BOOKS, json=body).json()
    return client.open_by_key(answer["spreadsheetId"])


def bring_up_to_date(
    book: gspread.Spreadsheet,
    settings: GsheetsSettings,
    rows: Sequence[Mapping[str, Cell]],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Changes:
    """Read the tab, make it hold these rows, and say what that changed; again where another export came first.

    Raises:
        DestinationError: others kept coming first.
        gspread.exceptions.APIError: Google refused.
    """
    for number in range(_TURNS):
        whole = book.fetch_sheet_metadata()
        changes = changes_for(_sheet(book, whole, settings.worksheet), rows)
        if not changes.requests or _written(book, turn_of(whole), changes):
            return changes
        sleep(random.uniform(0, min(0.2 * 2**number, 5.0)))  # noqa: S311 - only spreads exports out
    msg = "other exports keep writing to the Google sheet"
    raise DestinationError(msg)


def _written(book: gspread.Spreadsheet, turn: int, changes: Changes) -> bool:
    """Write with the next turn; False where somebody else had it."""
    import gspread

    try:
        book.batch_update({"requests": [*next_turn(turn), *changes.requests]})
    except gspread.exceptions.APIError as error:
        if error.response.status_code != _REFUSED or turn_of(book.fetch_sheet_metadata()) == turn:
            raise
        return False
    return True


def _sheet(book: gspread.Spreadsheet, whole: Mapping[str, Any], title: str | None) -> Sheet:
    """Read the tab; one that is not there yet is empty, and its id follows from its title."""
    tabs = sorted((tab["properties"] for tab in whole["sheets"]), key=lambda tab: tab.get("index", 0))
    tab = next((tab for tab in tabs if title is None or tab["title"] == title), None)
    if tab is None:
        assert title is not None  # noqa: S101 - a spreadsheet always has a tab
        return Sheet(id=zlib.crc32(title.encode()) >> 1, columns=0, values=(), new=title)
    quoted = tab["title"].replace("'", "''")
    found: dict[str, Any] = book.values_get(f"'{quoted}'", params={"valueRenderOption": "UNFORMATTED_VALUE"})
    return Sheet(id=tab["sheetId"], columns=tab["gridProperties"]["columnCount"], values=found.get("values", []))
