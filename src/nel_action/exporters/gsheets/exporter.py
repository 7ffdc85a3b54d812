"""Exporter to Google Sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.gsheets.access import account_name, check_credentials, load_credentials
from nel_action.exporters.gsheets.rows import GsheetsSettings, rows_of
from nel_action.exporters.gsheets.spreadsheet import open_spreadsheet, update_rows
from nel_action.exporters.interface import DestinationError, Exported, ExportError, ExportOutcome, MissingExtraError
from nel_action.retry import parse_retry_after

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from requests import Session

__all__ = ["GsheetsExporter"]

_TIMEOUT: Final = 30.0
"""Seconds per request."""
_QUOTA_WAIT: Final = 20.0
"""Seconds to wait if the quota, which is per minute, is exhausted and Google does not say how long."""
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERROR: Final = 500


def _authorized(credentials: Credentials) -> Session:
    from google.auth.transport.requests import AuthorizedSession

    session: Session = AuthorizedSession(credentials)
    return session


class GsheetsExporter:
    """Exports one row per job: one request reads the sheet, and one updates it if anything changed."""

    name = "gsheets"
    settings = GsheetsSettings

    def __init__(self, session_for: Callable[[Credentials], Session] = _authorized) -> None:
        self._session_for = session_for

    def check(self, settings: GsheetsSettings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Return a problem if there are no credentials.

        Raises:
            MissingExtraError: gspread is not installed.
        """
        if find_spec("gspread") is None:
            raise MissingExtraError(self.name, "gspread")
        problem = check_credentials(settings, environ)
        return [] if problem is None else [problem]

    def export(self, bundle: Bundle, settings: GsheetsSettings, environ: Mapping[str, str]) -> ExportOutcome:
        """Update the rows of one invocation.

        Raises:
            DestinationError: Google is busy or does not respond.
            ExportError: the spreadsheet does not exist or is not shared with the account.
        """
        import gspread

        account = account_name(settings, environ)
        with _translated(account):
            client = gspread.Client(auth=None, session=self._session_for(load_credentials(settings, environ)))
            client.set_timeout(_TIMEOUT)
            spreadsheet, created = open_spreadsheet(client, settings)
            changes = update_rows(spreadsheet, settings, rows_of(bundle, settings))
        items = tuple(Exported(job, change, str(spreadsheet.url)) for job, change in changes.jobs.items())
        return ExportOutcome(
            destination=self.name, items=items, notes=(_created_note(settings, account),) if created else ()
        )


def _created_note(settings: GsheetsSettings, account: str) -> str:
    readers = ", ".join(settings.share_with) or "no other account (set export.gsheets.share_with)"
    return f"created '{settings.spreadsheet_name}', which belongs to {account}, shared with {readers}"


@contextmanager
def _translated(account: str) -> Iterator[None]:
    """Translate the client's errors: busy can be retried, forbidden cannot."""
    import gspread
    import requests
    from google.auth.exceptions import GoogleAuthError, TransportError

    try:
        yield
    except PermissionError as error:
        msg = "the account may not write to this Google sheet"
        raise ExportError(msg, hint=f"share the sheet with {account} as an editor") from error
    except gspread.exceptions.SpreadsheetNotFound as error:
        msg = "no such Google sheet, or it is not shared with the account"
        hint = f"check export.gsheets.spreadsheet_id, and share the sheet with {account}"
        raise ExportError(msg, hint=hint) from error
    except gspread.exceptions.APIError as error:
        raise _api_error(error) from error
    except (requests.RequestException, TransportError) as error:
        msg = f"Google Sheets does not respond: {type(error).__name__}"
        raise DestinationError(msg) from error
    except GoogleAuthError as error:
        msg = "Google rejected the credentials"
        raise ExportError(
            msg, hint="check that the key is not revoked and that the machine's clock is right"
        ) from error


def _api_error(error: Any) -> ExportError:  # noqa: ANN401 - gspread's own
    status = error.response.status_code
    message = " ".join(str(error).split())[:300]
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        wait = parse_retry_after(error.response.headers.get("Retry-After"))
        if wait is None and status == _TOO_MANY_REQUESTS:
            wait = _QUOTA_WAIT
        return DestinationError(f"Google Sheets is busy: {message}", retry_after=wait)
    return ExportError(f"Google Sheets rejected the request: {message}")
