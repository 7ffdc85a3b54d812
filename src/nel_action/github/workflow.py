"""Communication with the runner: commands on standard output, and files for outputs and the summary.

Source: GitHub Docs, "Workflow commands for GitHub Actions". Values in commands are escaped, values in files are
enclosed in random delimiters, and untrusted text is printed between `stop-commands` markers, so that no line of a
job's log is executed as a command.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO, cast

from nel_action.errors import Location
from nel_action.redaction import derived_forms

__all__ = ["SUMMARY_LIMIT", "Level", "Workflow", "escape_data", "escape_line", "escape_property"]

SUMMARY_LIMIT: Final = 1024 * 1024
"""Bytes of a step's summary; the runner discards a longer one."""


class Level(StrEnum):
    """Severity of an annotation."""

    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


def escape_data(text: str) -> str:
    """Escape the part of a command after `::`."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Escape the value of a command's property, which is delimited by a colon or a comma."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def escape_line(line: str) -> str:
    """Make one line of a log inert: no command, no control characters."""
    # NOTE: the runner detects `::` after leading whitespace, and the older form `##[` anywhere in a line.
    text = f"> {line}" if line.lstrip().startswith("::") else line
    return _printable(text).replace("##[", "# #[")


class _LogStream(io.TextIOBase):
    """A stream that passes complete lines to the log, whatever the writer's width made of them."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._rest = ""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Log all complete lines, and keep the rest for the next call."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)


class Workflow:
    """The runner of this step; outside Actions, messages are printed as plain text and nothing is set."""

    def __init__(self, environ: Mapping[str, str], out: TextIO) -> None:
        self.active = environ.get("GITHUB_ACTIONS") == "true"
        self._environ = environ
        self._out = out

    def log(self, text: str) -> None:
        """Print a message, which may contain untrusted names."""
        for line in text.splitlines():
            self._write(escape_line(line))

    def stream(self) -> TextIO:
        """Return a stream whose lines are logged; for writers of text that may contain untrusted names."""
        return cast("TextIO", _LogStream(self.log))

    def annotate(self, level: Level, message: str, *, title: str = "", location: Location | None = None) -> None:
        """Add an annotation to the run's page and, with a location, to the line of a file.

        Args:
            level: severity.
            message: may have several lines.
            title: one line.
            location: file, line and column.
        """
        if not self.active:
            self.log(f"{level}: {title + ': ' if title else ''}{message}")
            return
        position = (location.file, location.line, location.column) if location else (None, None, None)
        properties = dict(zip(("file", "line", "col"), position, strict=True)) | {"title": title}
        self._command(level, message, {name: str(value) for name, value in properties.items() if value})

    def mask(self, values: Iterable[str]) -> None:
        """Have the runner mask secrets, in every form in which they may occur in a log."""
        if self.active:
            for form in sorted({form for value in values for form in derived_forms(value)}):
                self._command("add-mask", form)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold the lines that are printed inside."""
        if self.active:
            self._command("group", title)
        else:
            self.log(title)
        try:
            yield
        finally:
            if self.active:
                self._command("endgroup", "")

    def print_untrusted(self, lines: Iterable[str]) -> None:
        """Print lines of untrusted text, with the interpretation of commands suspended."""
        token = secrets.token_hex(16)
        if self.active:
            self._command("stop-commands", token)
        try:
            for line in lines:
                self._write(_printable(line))
        finally:
            if self.active:
                self._write(f"::{token}::")

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Set outputs of this step; they replace earlier values."""
        self._append("GITHUB_OUTPUT", "".join(_output_entry(name, value) for name, value in values.items()))

    def append_summary(self, markdown: str) -> None:
        """Append to the job's summary, truncated at a line if the summary would exceed its limit."""
        path = self._environ.get("GITHUB_STEP_SUMMARY")
        try:
            used = Path(path).stat().st_size if path and Path(path).exists() else 0
            self._append("GITHUB_STEP_SUMMARY", _truncate(markdown, SUMMARY_LIMIT - used - 1))
        except OSError as error:
            # NOTE: the summary is a report; check, comment and outputs are written nevertheless.
            self.annotate(Level.WARNING, f"the job summary could not be written: {error.strerror}")

    def _command(self, name: str, data: str, properties: Mapping[str, str] | None = None) -> None:
        pairs = ",".join(f"{key}={escape_property(value)}" for key, value in (properties or {}).items())
        self._write(f"::{name}{' ' if pairs else ''}{pairs}::{escape_data(data)}")

    def _write(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()

    def _append(self, variable: str, text: str) -> None:
        path = self._environ.get(variable)
        if path and text:
            with Path(path).open("a", encoding="utf-8") as out:
                out.write(text)


def _output_entry(name: str, value: str) -> str:
    """Format an output with a random delimiter, which the value cannot contain."""
    delimiter = f"ghadelimiter_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def _printable(line: str) -> str:
    """Remove characters that move the cursor or start a new line."""
    return "".join(char for char in line.rstrip("\r\n") if char == "\t" or char.isprintable())


def _truncate(text: str, size: int) -> str:
    """Cut a text that is larger than `size` bytes at the end of a line, and say so."""
    data = f"{text.rstrip()}\n".encode()
    if len(data) <= size:
        return data.decode()
    note = "\n\n(truncated: the runner shows at most 1 MiB; the artifact contains the complete report)\n"
    kept = data[: max(0, size - len(note.encode()))].rpartition(b"\n")[0]
    return kept.decode() + note if kept else ""
