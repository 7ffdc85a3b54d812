"""Unexpected errors of the command line: one line for the user, the traceback in a log file."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from nel_action.errors import ExitCode

__all__ = ["redact_values", "report_crash", "verdict_expected"]

LOG_FOLDER: Final = "logs"
"""Folder of the log files, below `$NEL_ACTION_HOME`."""
VERDICT_COMMANDS: Final = frozenset({"run", "wait", "resume", "gate", "history", "calibrate", "ci"})
"""Commands whose exit code is a verdict."""
_FIXES: Final = {
    errno.ENOSPC: "free space on that file system",
    errno.EDQUOT: "free space within the quota",
    errno.EFBIG: "free space, or raise the limit of file sizes",
    errno.EROFS: "choose a directory on a writable file system",
    errno.EACCES: "check the permissions of the file and of its directory",
    errno.EPERM: "check the permissions of the file and of its directory",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has no file descriptors left",
    errno.EIO: "check the disk",
}
"""Fix of an operating system error."""

_values: set[str] = set()


def redact_values(values: list[str]) -> None:
    """Redact these values from the report of an unexpected error, in addition to those of the environment."""
    _values.update(values)


def verdict_expected(argv: list[str]) -> bool:
    """Return whether a command line asks for a verdict, so that success may not be reported without one."""
    return next((word for word in argv if not word.startswith("-")), None) in VERDICT_COMMANDS


def report_crash(error: BaseException) -> ExitCode:
    """Print an unexpected error in one line, write its traceback to a log file, and return exit code 3.

    With `-v` the traceback is printed as well. Nothing in here raises: the exit code must not depend on the disk.
    """
    text = "".join(traceback.format_exception(error))
    line = _describe(error)
    try:
        from nel_action.redaction import Redactor, likely_secrets

        redact = Redactor([*likely_secrets(os.environ), *_values])
        text, line = redact(text), redact(line)
    except Exception:  # noqa: BLE001 - without redaction, only the type is printed
        text = line = f"unexpected error: {type(error).__name__}"
    path = _write_log(text)
    location = f"; traceback: {path}" if path else "; repeat the command with -v for the traceback"
    try:
        if logging.getLogger("nel_action").isEnabledFor(logging.INFO):
            click.echo(text.rstrip(), err=True)
        click.echo(line + location, err=True)
    except OSError:
        pass  # standard error is closed
    return ExitCode.UNMEASURABLE


def _describe(error: BaseException) -> str:
    """Describe an error in one line: what failed, the value, the fix."""
    if isinstance(error, OSError) and error.errno is not None:
        subject = f": {error.filename}" if error.filename is not None else ""
        fix = f"; {_FIXES[error.errno]}" if error.errno in _FIXES else ""
        return " ".join(f"operating system error{subject}: {error.strerror or error}{fix}".split())
    if isinstance(error, sqlite3.Error):
        return _describe_ledger_error(error)
    if isinstance(error, MemoryError):
        return "out of memory; use a machine with more memory, or fewer items per run"
    if isinstance(error, UnicodeError):
        return " ".join(f"a file or a name is not valid UTF-8: {error}"[:300].split())
    return " ".join(f"unexpected error: {type(error).__name__}: {error}"[:300].split())


def _describe_ledger_error(error: sqlite3.Error) -> str:
    """Describe an error of the database; a damaged one is rebuilt from the run directories."""
    from nel_action.files import home_dir

    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    if damaged or "no such" in str(error) or "malformed" in str(error):
        fix = "move it away; `nel-action wait RUN_DIR` adds an invocation again"
        return f"the ledger {home_dir() / 'ledger.db'} is damaged: {error}; {fix}"
    return f"the ledger in $NEL_ACTION_HOME cannot be used: {error}; free space and check its permissions"


def _write_log(text: str) -> Path | None:
    """Write a log file below `$NEL_ACTION_HOME`, else in the temporary folder; None if neither is writable."""
    from nel_action.files import home_dir

    name = f"error-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        folders = [home_dir() / LOG_FOLDER, Path(tempfile.gettempdir())]
    except (OSError, RuntimeError):
        return None
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # NOTE: exclusive, because the temporary folder is shared with other users.
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as out:
                out.write(text)
        except OSError:
            continue
        return folder / name
    return None
