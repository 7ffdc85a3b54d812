"""Google credentials from a key file or from the text of a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import Problem, SecretError
from nel_action.exporters.credentials import read_secret
from nel_action.exporters.gsheets.rows import GsheetsSettings

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["account_name", "check_credentials", "load_credentials"]

_SCOPES: Final = (
    "https://www.googleapis.com/auth/spreadsheets",
    "https://www.googleapis.com/auth/drive.metadata.readonly",
    "https://www.googleapis.com/auth/drive.file",  # to share a spreadsheet that the exporter created
)
_GSPREAD: Final = Path("~/.config/gspread")
"""Default folder of gspread, and so of the launcher, for credentials."""


def check_credentials(settings: GsheetsSettings, environ: Mapping[str, str]) -> Problem | None:
    """Return the problem if there are no readable credentials; never a part of their content."""
    try:
        credentials = _service_account(settings, environ) or _user(settings)
    except SecretError as error:
        return error.problems[0]
    if credentials is None:
        hint = f"set {settings.service_account_env}, or export.gsheets.service_account_file or oauth_file"
        return Problem("no Google credentials", hint=hint)
    return None


def load_credentials(settings: GsheetsSettings, environ: Mapping[str, str]) -> Credentials:
    """Return credentials that refresh themselves.

    Raises:
        SecretError: there are none, or they are incomplete.
    """
    from google.oauth2 import credentials as user
    from google.oauth2 import service_account

    key = _service_account(settings, environ)
    try:
        if key is not None:
            return service_account.Credentials.from_service_account_info(key, scopes=_SCOPES)
        # NOTE: without scopes, because Google rejects others than those that the user granted.
        return user.Credentials.from_authorized_user_info(_user(settings))
    except ValueError as error:
        # NOTE: the library's message may contain the key; this one does not.
        msg = "incomplete Google credentials"
        raise SecretError(msg, hint="create a new JSON key for the service account") from error


def account_name(settings: GsheetsSettings, environ: Mapping[str, str]) -> str:
    """Return the account that a spreadsheet must be shared with."""
    key = _service_account(settings, environ) or {}
    return str(key.get("client_email") or "the account")


def _service_account(settings: GsheetsSettings, environ: Mapping[str, str]) -> dict[str, Any] | None:
    if settings.service_account_file:
        return _read(Path(settings.service_account_file).expanduser())
    if settings.oauth_file:
        return None
    text = read_secret(settings.service_account_env, environ)
    if text:
        return _parse(text, settings.service_account_env)
    path = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    default = (_GSPREAD / "service_account.json").expanduser()
    return _read(Path(path)) if path else _read(default) if default.is_file() else None


def _user(settings: GsheetsSettings) -> dict[str, Any] | None:
    """Return the authorized user in the configured file, in the folder of a client file, or in the folder of gspread.

    Raises:
        SecretError: the file is not readable, or no user has authorized the client.
    """
    default = (_GSPREAD / "authorized_user.json").expanduser()
    if not settings.oauth_file:
        return _read(default) if default.is_file() else None
    path = Path(settings.oauth_file).expanduser()
    content = _read(path)
    if "refresh_token" in content:
        return content
    sibling = path.with_name("authorized_user.json")
    if sibling.is_file() or default.is_file():
        return _read(sibling if sibling.is_file() else default)
    msg = f"no user has authorized the client in {path}"
    raise SecretError(msg, hint=f"run gspread.oauth() once on a machine with a browser, and copy its file to {sibling}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the Google credentials in {path}"
        raise SecretError(msg, hint=getattr(error, "strerror", None)) from error


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        msg = f"the Google credentials in {source} are not JSON"
        raise SecretError(msg, hint="use the complete text of the key file") from None
    return content
