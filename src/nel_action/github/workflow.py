"""How a step talks to its runner: commands on standard output, files for outputs and the summary.

Source: the runner's own protocol, "Workflow commands for GitHub Actions". Everything that goes into a command
is escaped; everything that goes into a file stands between random delimiters; text from elsewhere is printed
between `stop-commands` marks, so that no log line of a job can speak to the runner.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, TextIO

from nel_action.errors import Location
from nel_action.redaction import derived_forms

__all__ = ["SUMMARY_LIMIT", "Level", "Workflow", "escape_data", "escape_property"]

SUMMARY_LIMIT: Final = 1024 * 1024
"""Bytes that a step's summary may have; the runner throws away a longer one whole."""


class Level(StrEnum):
    """How loud an annotation is."""

    NOTICE = "notice"
    WARNING = "warning"
    ERROR = "error"


def escape_data(text: str) -> str:
    """Escape the part of a command after `::`."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Escape a property's value, which ends at a colon or a comma."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


class Workflow:
    """The runner of this step. Outside of Actions it prints plainly and sets nothing."""

    def __init__(self, environ: Mapping[str, str], out: TextIO) -> None:
        self.active = environ.get("GITHUB_ACTIONS") == "true"
        self._environ = environ
        self._out = out

    def say(self, text: str) -> None:
        """Print our own words; names in them may come from anywhere."""
        # NOTE: the runner looks behind blanks for `::`, and anywhere in a line for the older `##[`.
        lines = (f"> {line}" if line.lstrip().startswith("::") else line for line in text.splitlines())
        for line in lines:
            self._write(_printable(line).replace("##[", "# #["))

    def annotate(self, level: Level, message: str, *, title: str = "", location: Location | None = None) -> None:
        """Put a message on the run's page and, with a location, beside the line it is about."""
        if not self.active:
            self.say(f"{level}: {title + ': ' if title else ''}{message}")
            return
        place = (location.file, location.line, location.column) if location else (None, None, None)
        properties = dict(zip(("file", "line", "col"), place, strict=True)) | {"title": title}
        self._command(level, message, {name: str(value) for name, value in properties.items() if value})

    def mask(self, values: Iterable[str]) -> None:
        """Have the runner hide these values, in each form in which they could turn up in a log."""
        if self.active:
            for form in sorted({form for value in values for form in derived_forms(value)}):
                self._command("add-mask", form)

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what is printed inside."""
        if self.active:
            self._command("group", title)
        else:
            self.say(title)
        try:
            yield
        finally:
            if self.active:
                self._command("endgroup", "")

    def print_untrusted(self, lines: Iterable[str]) -> None:
        """Print lines that somebody else wrote; nothing in them is a command."""
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
        """Set outputs of this step; a later value of the same name wins."""
        self._append("GITHUB_OUTPUT", "".join(_entry(name, value) for name, value in values.items()))

    def append_summary(self, markdown: str) -> None:
        """Add to the job's summary, cut at a line where it would grow too long to be shown at all."""
        path = self._environ.get("GITHUB_STEP_SUMMARY")
        used = Path(path).stat().st_size if path and Path(path).exists() else 0
        self._append("GITHUB_STEP_SUMMARY", _cut(markdown, SUMMARY_LIMIT - used - 1))

    def _command(self, name: str, data: str, properties: Mapping[str, str] | None = None) -> None:
        listed = ",".join(f"{key}={escape_property(value)}" for key, value in (properties or {}).items())
        self._write(f"::{name}{' ' if listed else ''}{listed}::{escape_data(data)}")

    def _write(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()

    def _append(self, variable: str, text: str) -> None:
        path = self._environ.get(variable)
        if path and text:
            with Path(path).open("a", encoding="utf-8") as out:
                out.write(text)


def _entry(name: str, value: str) -> str:
    """Write one value so that nothing in it can end it early."""
    delimiter = f"ghadelimiter_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def _printable(line: str) -> str:
    """Leave out what would move the cursor or begin a line of its own."""
    return "".join(char for char in line.rstrip("\r\n") if char == "\t" or char.isprintable())


def _cut(text: str, room: int) -> str:
    """Keep whole lines, and say that there were more."""
    data = f"{text.rstrip()}\n".encode()
    if len(data) <= room:
        return data.decode()
    note = "\n\n(cut here: the runner shows no more than 1 MiB; the report among the artifacts is whole)\n"
    kept = data[: max(0, room - len(note.encode()))].rpartition(b"\n")[0]
    return kept.decode() + note if kept else ""
