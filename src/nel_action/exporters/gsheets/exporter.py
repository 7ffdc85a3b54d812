"""The `gsheets` exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.gsheets.access import access_problem, account, credentials
from nel_action.exporters.gsheets.rows import GsheetsSettings, rows_of
from nel_action.exporters.gsheets.spreadsheet import bring_up_to_date, found_or_made
from nel_action.exporters.interface import DestinationError, Exported, ExportError, ExportOutcome, MissingExtraError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from requests import Session

__all__ = ["GsheetsExporter"]

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
        """Say whether a key is there.

        Raises:
            MissingExtraError: gspread is not installed.
        """
        if find_spec("gspread") is None:
            raise MissingExtraError(self.name, "gspread")
        problem = access_problem(settings, environ)
        return [] if problem is None else [problem]

    def export(self, bundle: Bundle, settings: GsheetsSettings, environ: Mapping[str, str]) -> ExportOutcome:
        """Bring the rows of one invocation up to date.

        Raises:
            DestinationError: Google is busy, or does not answer.
            ExportError: the sheet is not there, or not shared with the account.
        """
        import gspread

        with _translated(name := account(settings, environ)):
            client = gspread.Client(auth=None, session=self._session_for(credentials(settings, environ)))
            client.set_timeout(_PATIENCE)
            book, made = found_or_made(client, settings)
            changes = bring_up_to_date(book, settings, rows_of(bundle, settings))
        items = tuple(Exported(job, change, str(book.url)) for job, change in changes.jobs.items())
        shared = ", ".join(settings.share_with) or "nobody else (export.gsheets.share_with)"
        notes = (f"made '{settings.spreadsheet_name}', which belongs to {name}, shared with {shared}",) if made else ()
        return ExportOutcome(destination=self.name, items=items, notes=notes)


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
