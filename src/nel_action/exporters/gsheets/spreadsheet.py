"""One spreadsheet: opened or created, read, and written with optimistic locking.

Two exports at the same time must not both add the same row or overwrite each other's headers. The spreadsheet keeps a
revision number that people do not see, as developer metadata. Every write takes the next number in the same batch as
its changes, and Google rejects a batch whose number exists. An export whose batch was rejected reads again.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nel_action.exporters.gsheets.changes import Changes, Sheet, changes_for
from nel_action.exporters.gsheets.rows import Cell, GsheetsSettings
from nel_action.exporters.interface import DestinationError
from nel_action.retry import Backoff

if TYPE_CHECKING:
    import gspread

__all__ = ["open_spreadsheet", "update_rows"]

logger = logging.getLogger(__name__)

_SPREADSHEETS: Final = "https://sheets.googleapis.com/v4/spreadsheets"
_FILES: Final = "https://www.googleapis.com/drive/v3/files"
_TRIES: Final = 8
"""Writes that are attempted while other exports write too."""
# NOTE: a jitter of 1 makes the pause uniformly random, which separates exports that collided.
_BACKOFF: Final = Backoff(initial=0.2, maximum=5.0, jitter=1.0)
_BAD_REQUEST: Final = 400
_REVISION_KEY: Final = "nel-action.turn"
"""Key of the metadata with the revision number; other versions read it too."""
_FIRST_ID: Final = 0x6E656C00
"""Metadata ids are positive 32-bit numbers; a start at an unusual number avoids those of other programs."""


def open_spreadsheet(client: gspread.Client, settings: GsheetsSettings) -> tuple[gspread.Spreadsheet, bool]:
    """Open the spreadsheet, or create and share it if none has its title; return it and whether it was created."""
    import gspread

    if settings.spreadsheet_id:
        return client.open_by_key(settings.spreadsheet_id), False
    try:
        return client.open(settings.spreadsheet_name), False
    except gspread.exceptions.SpreadsheetNotFound:
        created = _create(client, settings)
    for address in settings.share_with:
        # NOTE: gspread's own call sends a key that the description of Drive's API does not have.
        permission = {"type": "user", "role": "writer", "emailAddress": address}
        params = {"sendNotificationEmail": "false"}
        client.http_client.request("post", f"{_FILES}/{created.id}/permissions", params=params, json=permission)
    return created, True


def _create(client: gspread.Client, settings: GsheetsSettings) -> gspread.Spreadsheet:
    sheets = [{"properties": {"title": settings.worksheet}}] if settings.worksheet else []
    body = {"properties": {"title": settings.spreadsheet_name}, "sheets": sheets}
    response = client.http_client.request("post", _SPREADSHEETS, json=body).json()
    return client.open_by_key(response["spreadsheetId"])


def update_rows(
    spreadsheet: gspread.Spreadsheet,
    settings: GsheetsSettings,
    rows: Sequence[Mapping[str, Cell]],
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> Changes:
    """Make the sheet contain the rows; read and write again if another export has written in between.

    Args:
        spreadsheet: the spreadsheet.
        settings: options of the exporter, with the name of the sheet.
        rows: cells by header.
        sleep: pauses for that many seconds before another try.

    Returns:
        The changes that were written; without requests if the sheet was up to date.

    Raises:
        DestinationError: other exports have written before each try.
        gspread.exceptions.APIError: Google rejected the request.
    """
    for _, pause in zip(range(_TRIES), _BACKOFF.delays(), strict=False):
        metadata = spreadsheet.fetch_sheet_metadata()
        changes = changes_for(_read_sheet(spreadsheet, metadata, settings.worksheet), rows)
        if not changes.requests or _write(spreadsheet, _revision(metadata), changes):
            return changes
        logger.info("another export has written to the spreadsheet; reading it again")
        sleep(pause)
    msg = "other exports keep writing to the Google sheet"
    raise DestinationError(msg)


def _write(spreadsheet: gspread.Spreadsheet, revision: int, changes: Changes) -> bool:
    """Write the changes with the next revision number; return False if another export has taken it."""
    import gspread

    try:
        spreadsheet.batch_update({"requests": [*_next_revision(revision), *changes.requests]})
    except gspread.exceptions.APIError as error:
        rejected = error.response.status_code == _BAD_REQUEST
        if not rejected or _revision(spreadsheet.fetch_sheet_metadata()) == revision:
            raise
        return False
    return True


def _revision(metadata: Mapping[str, Any]) -> int:
    """Return the revision number in a response of `spreadsheets.get`; 0 if nothing has been written."""
    entries = metadata.get("developerMetadata", ())
    values = [entry["metadataValue"] for entry in entries if entry.get("metadataKey") == _REVISION_KEY]
    return max((int(value) for value in values if value.isdecimal()), default=0)


def _next_revision(revision: int) -> list[dict[str, Any]]:
    """Return the requests that replace a revision number by the next one."""
    new = {
        "metadataId": _FIRST_ID + revision + 1,
        "metadataKey": _REVISION_KEY,
        "metadataValue": str(revision + 1),
        "location": {"spreadsheet": True},
        "visibility": "DOCUMENT",
    }
    old = {"developerMetadataLookup": {"metadataKey": _REVISION_KEY, "metadataValue": str(revision)}}
    delete = [{"deleteDeveloperMetadata": {"dataFilter": old}}] if revision else []
    return [*delete, {"createDeveloperMetadata": {"developerMetadata": new}}]


def _read_sheet(spreadsheet: gspread.Spreadsheet, metadata: Mapping[str, Any], title: str | None) -> Sheet:
    """Read a sheet; one that does not exist yet is empty and gets an id derived from its title."""
    sheets = sorted((sheet["properties"] for sheet in metadata["sheets"]), key=lambda sheet: sheet.get("index", 0))
    sheet = next((sheet for sheet in sheets if title is None or sheet["title"] == title), None)
    if sheet is None:
        assert title is not None  # noqa: S101 - a spreadsheet has at least one sheet
        return Sheet(id=zlib.crc32(title.encode()) >> 1, columns=0, values=(), new_title=title)
    quoted = sheet["title"].replace("'", "''")
    response: dict[str, Any] = spreadsheet.values_get(f"'{quoted}'", params={"valueRenderOption": "UNFORMATTED_VALUE"})
    columns = sheet["gridProperties"]["columnCount"]
    return Sheet(id=sheet["sheetId"], columns=columns, values=response.get("values", []))
