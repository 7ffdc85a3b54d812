"""The `gsheets` exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.gsheets.access import access_problem, account, credentials
from nel_action.exporters.gsheets.changes import Changes, Sheet, changes_for
from nel_action.exporters.gsheets.rows import GsheetsSettings, rows_of
from nel_action.exporters.interface import DestinationError, Exported, ExportError, ExportOutcome, MissingExtraError

if TYPE_CHECKING:
    import gspread
    from google.auth.credentials import Credentials
    from requests import Session

__all__ = ["EXPORTER", "GsheetsExporter"]

_PATIENCE: Final = 30.0
_QUOTA: Final = 20.0
"""Seconds to wait where the quota, which is counted by the minute, is used up and Google names no time."""
_BUSY: Final = 429
_SERVER: Final = 500


def _authorized(found: Credentials) -> Session:
    from google.auth.transport.requests import AuthorizedSession

    session: Session = AuthorizedSession(found)
    return session


class GsheetsExporter:
    """Keeps a row for each job: one call reads the tab, one call brings it up to date, or none where it is."""

    name = "gsheets"
    settings = GsheetsSettings

    def __init__(self, session_for: Callable[[Credentials], Session] = _authorized) -> None:
        self._session_for = session_for

    def check(self, settings: GsheetsSettings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Say whether a sheet is named and a key is there.

        Raises:
            MissingExtraError: gspread is not installed.
        """
        if find_spec("gspread") is None:
            raise MissingExtraError(self.name, "gspread")
        problems = [] if (problem := access_problem(settings, environ)) is None else [problem]
        if not settings.spreadsheet_id and not settings.spreadsheet_name:
            problems.append(Problem("export.gsheets names no sheet", hint="set export.gsheets.spreadsheet_id"))
        return problems

    def export(self, bundle: Bundle, settings: GsheetsSettings, environ: Mapping[str, str]) -> ExportOutcome:
        """Bring the rows of one invocation up to date.

        Raises:
            DestinationError: Google is busy, or does not answer.
            ExportError: the sheet is not there, or not shared with the account.
        """
        import gspread

        with _translated(account(settings, environ)):
            client = gspread.Client(auth=None, session=self._session_for(credentials(settings, environ)))
            client.set_timeout(_PATIENCE)
            book = (
                client.open_by_key(settings.spreadsheet_id) if settings.spreadsheet_id else _by_name(client, settings)
            )
            changes = changes_for(_sheet(book, settings), rows_of(bundle, settings))
            _apply(book, changes)
        items = tuple(Exported(job, change, str(book.url)) for job, change in changes.jobs.items())
        return ExportOutcome(destination=self.name, items=items)


def _by_name(client: gspread.Client, settings: GsheetsSettings) -> gspread.Spreadsheet:
    import gspread

    try:
        return client.open(settings.spreadsheet_name)
    except gspread.exceptions.SpreadsheetNotFound as error:
        msg = f"no sheet '{settings.spreadsheet_name}' that the account can see"
        raise ExportError(msg, hint="make it, share it with the account, and name it by spreadsheet_id") from error


def _sheet(book: gspread.Spreadsheet, settings: GsheetsSettings) -> Sheet:
    import gspread

    try:
        tab = book.worksheet(settings.worksheet) if settings.worksheet else book.get_worksheet(0)
    except gspread.exceptions.WorksheetNotFound as error:
        msg = f"the sheet has no tab '{settings.worksheet}'"
        raise ExportError(msg, hint="make the tab, or leave export.gsheets.worksheet out for the first one") from error
    quoted = tab.title.replace("'", "''")
    found: dict[str, Any] = book.values_get(f"'{quoted}'", params={"valueRenderOption": "UNFORMATTED_VALUE"})
    return Sheet(id=tab.id, columns=tab.col_count, values=found.get("values", []))


def _apply(book: gspread.Spreadsheet, changes: Changes) -> None:
    if changes.requests:
        book.batch_update({"requests": list(changes.requests)})


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Tell what is busy from what is forbidden."""
    import gspread
    import requests
    from google.auth.exceptions import GoogleAuthError, TransportError

    try:
        yield
    except PermissionError as error:
        msg = "Google does not let the account write this sheet"
        raise ExportError(msg, hint=f"share the sheet with {name} as an editor") from error
    except gspread.exceptions.SpreadsheetNotFound as error:
        msg = "there is no such sheet, or it is not shared"
        raise ExportError(msg, hint=f"check export.gsheets.spreadsheet_id, and share the sheet with {name}") from error
    except gspread.exceptions.APIError as error:
        raise _api_error(error) from error
    except (requests.RequestException, TransportError) as error:
        msg = f"Google Sheets does not answer: {type(error).__name__}"
        raise DestinationError(msg) from error
    except GoogleAuthError as error:
        msg = "Google refused the credentials"
        raise ExportError(msg, hint="the key may be revoked, or the machine's clock wrong") from error


def _api_error(error: Any) -> ExportError:  # noqa: ANN401 - gspread's own
    status = error.response.status_code
    said = " ".join(str(error).split())[:300]
    if status == _BUSY or status >= _SERVER:
        asked = error.response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else _QUOTA if status == _BUSY else None
        return DestinationError(f"Google Sheets is busy: {said}", retry_after=wait)
    return ExportError(f"Google Sheets refused: {said}")


EXPORTER: Final = GsheetsExporter()
