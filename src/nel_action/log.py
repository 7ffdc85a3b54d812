"""Logging of nel-action: loggers below `nel_action`, silent unless configured, secrets redacted.

Modules call `logging.getLogger(__name__)`. The command line calls `configure_logging`; the library leaves that to
its caller, as usual.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["configure_logging", "log_to_file"]

_ROOT: Final = "nel_action"
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)

logging.getLogger(_ROOT).addHandler(logging.NullHandler())


class _RedactingFormatter(logging.Formatter):
    """Formats a record, exception text included, and redacts the result."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(_FORMAT)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the redacted line."""
        return self._redact(super().format(record))


def configure_logging(verbosity: int, *, redact: Callable[[str], str]) -> logging.Handler:
    """Send log messages to standard error.

    Args:
        verbosity: 0 shows warnings, 1 (`-v`) progress, 2 or more (`-vv`) details.
        redact: removes secrets from a line.

    Returns:
        The handler, for removal.
    """
    return _add(logging.StreamHandler(), _LEVELS[min(max(verbosity, 0), len(_LEVELS) - 1)], redact)


def log_to_file(path: Path, *, redact: Callable[[str], str], level: int = logging.DEBUG) -> logging.Handler:
    """Append log messages to a file with mode 0600; for processes without a terminal.

    Args:
        path: the file; its folder exists.
        redact: removes secrets from a line.
        level: least level that is written.

    Returns:
        The handler, for removal.
    """
    path.touch(mode=0o600, exist_ok=True)
    return _add(logging.FileHandler(path, encoding="utf-8"), level, redact)


def _add(handler: logging.Handler, level: int, redact: Callable[[str], str]) -> logging.Handler:
    handler.setLevel(level)
    handler.setFormatter(_RedactingFormatter(redact))
    logger = logging.getLogger(_ROOT)
    logger.setLevel(min(level, logger.level or level))
    logger.addHandler(handler)
    return handler
