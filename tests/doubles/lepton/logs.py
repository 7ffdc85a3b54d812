"""What a workload wrote, as a stream and as history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Line", "Log", "history"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line."""

    nanos: int
    text: str
    replica: str
    run: str
    """Name of the try that wrote it, as the job's history has it."""


@dataclass(slots=True)
class Log:
    """All lines of a workload; readers may wait for more."""

    lines: list[Line] = field(default_factory=list)
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, line: Line) -> None:
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def finish(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def follow(self, replica: str, closing: threading.Event, settle: Callable[[], None]) -> Iterator[bytes]:
        """Yield a replica's lines as they come, until nothing can come any more."""
        at = 0
        while not closing.is_set():
            settle()
            with self.changed:
                if len(self.lines) == at and not self.ended:
                    self.changed.wait(0.05)
                new, last = self.lines[at:], self.ended
            at += len(new)
            yield from (f"{line.text}\n".encode() for line in new if line.replica == replica)
            if last and not new:
                return


def history(lines: list[Line], asked: dict[str, str], *, until: int, most: int) -> dict[str, Any]:
    """Return lines as the log service does: within the times, newest first unless asked otherwise, cut at the limit."""
    first, last = int(asked.get("start", 1)), min(int(asked.get("end", until)), until)
    found = [
        line
        for line in lines
        if first <= line.nanos <= last and asked.get("q", "") in line.text and _named(line, asked)
    ]
    if asked.get("direction", "backward") == "backward":
        found.reverse()
    found = found[: min(int(asked.get("limit", most)), most)]
    streams: dict[str, list[list[str]]] = {}
    for line in found:
        streams.setdefault(line.replica, []).append([str(line.nanos), line.text])
    result = [{"stream": {"replica": replica}, "values": values} for replica, values in streams.items()]
    return {"data": {"result": result}}


def _named(line: Line, asked: dict[str, str]) -> bool:
    return line.replica == asked.get("replica", line.replica) and line.run == asked.get("job_history_name", line.run)
