"""Credentials for Google, from a file or a secret's text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import Problem, SecretError
from nel_action.exporters.credentials import secret
from nel_action.exporters.gsheets.rows import GsheetsSettings

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["access_problem", "account", "credentials"]

_SCOPES: Final = (
    "https://www.googleapis.com/auth/spreadsheets",
    "https://www.googleapis.com/auth/drive.metadata.readonly",
    "https://www.googleapis.com/auth/drive.file",  # to share a sheet that was made
)
_GSPREAD: Final = Path("~/.config/gspread")
"""Where gspread, and so the Launcher, looks for keys that nobody named."""


def access_problem(settings: GsheetsSettings, environ: Mapping[str, str]) -> Problem | None:
    """Say why there are no credentials, if so; never what stands in them."""
    try:
        known = _key(settings, environ) or _user(settings)
    except SecretError as error:
        return error.problems[0]
    if known is None:
        hint = f"set {settings.service_account_env}, or export.gsheets.service_account_file or oauth_file"
        return Problem("there are no Google credentials", hint=hint)
    return None


def credentials(settings: GsheetsSettings, environ: Mapping[str, str]) -> Credentials:
    """Make credentials that renew themselves.

    Raises:
        SecretError: there are none, or they are no key.
    """
    from google.oauth2 import credentials as user
    from google.oauth2 import service_account

    key = _key(settings, environ)
    try:
        if key is not None:
            return service_account.Credentials.from_service_account_info(key, scopes=_SCOPES)
        # NOTE: without scopes: a user granted some once, and asking for others would be refused.
        return user.Credentials.from_authorized_user_info(_user(settings))
    except ValueError as error:
        # NOTE: the library's message may quote the key; ours does not.
        msg = "the Google credentials are not a whole key"
        raise SecretError(msg, hint="make a new JSON key for the service account") from error


def account(settings: GsheetsSettings, environ: Mapping[str, str]) -> str:
    """Name the account that a sheet must be shared with."""
    key = _key(settings, environ) or {}
    return str(key.get("client_email") or "the account")


def _key(settings: GsheetsSettings, environ: Mapping[str, str]) -> dict[str, Any] | None:
    if settings.service_account_file:
        return _read(Path(settings.service_account_file).expanduser())
    if settings.oauth_file:
        return None
    text = secret(settings.service_account_env, environ)
    if text:
        return _parsed(text, settings.service_account_env)
    path = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    usual = (_GSPREAD / "service_account.json").expanduser()
    return _read(Path(path)) if path else _read(usual) if usual.is_file() else None


def _user(settings: GsheetsSettings) -> dict[str, Any] | None:
    """Find an authorised user: in the named file, beside the client that it describes, or where gspread left one.

    Raises:
        SecretError: the file cannot be read, or nobody has authorised the client yet.
    """
    usual = (_GSPREAD / "authorized_user.json").expanduser()
    if not settings.oauth_file:
        return _read(usual) if usual.is_file() else None
    path = Path(settings.oauth_file).expanduser()
    found = _read(path)
    if "refresh_token" in found:
        return found
    beside = path.with_name("authorized_user.json")
    if beside.is_file() or usual.is_file():
        return _read(beside if beside.is_file() else usual)
    msg = f"{path} describes a client that nobody has authorised"
    raise SecretError(msg, hint=f"run gspread.oauth() once where there is a browser, and put its file at {beside}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the Google credentials in {path}"
        raise SecretError(msg, hint=getattr(error, "strerror", None)) from error


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        msg = f"the Google credentials in {source} are not JSON"
        raise SecretError(msg, hint="put the whole text of the key file there") from None
    return found
