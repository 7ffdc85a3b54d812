"""Output of a workload, as a stream and as the log service returns it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Line", "Log", "query_history"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line."""

    nanos: int
    text: str
    replica: str
    run: str
    """Name of the run, as in the job's history."""


@dataclass(slots=True)
class Log:
    """All lines of a workload; readers can wait for more."""

    lines: list[Line] = field(default_factory=list)
    finished: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, line: Line) -> None:
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def finish(self) -> None:
        with self.changed:
            self.finished = True
            self.changed.notify_all()

    def follow(self, replica: str, closing: threading.Event, settle: Callable[[], None]) -> Iterator[bytes]:
        """Yield a replica's lines as they are written, until the workload has finished."""
        position = 0
        while not closing.is_set():
            settle()
            with self.changed:
                if len(self.lines) == position and not self.finished:
                    self.changed.wait(0.05)
                new, last = self.lines[position:], self.finished
            position += len(new)
            yield from (f"{line.text}\n".encode() for line in new if line.replica == replica)
            if last and not new:
                return


def query_history(lines: list[Line], query: dict[str, str], *, until: int, max_lines: int) -> dict[str, Any]:
    """Return lines as the log service does: within the time range, newest first by default, limited in number.

    Args:
        lines: all lines.
        query: the parameters of the request.
        until: timestamp (ns) of the newest line that the service has stored.
        max_lines: the service's limit.
    """
    first, last = int(query.get("start", 1)), min(int(query.get("end", until)), until)
    selected = [
        line
        for line in lines
        if first <= line.nanos <= last and query.get("q", "") in line.text and _matches(line, query)
    ]
    if query.get("direction", "backward") == "backward":
        selected.reverse()
    selected = selected[: min(int(query.get("limit", max_lines)), max_lines)]
    streams: dict[str, list[list[str]]] = {}
    for line in selected:
        streams.setdefault(line.replica, []).append([str(line.nanos), line.text])
    result = [{"stream": {"replica": replica}, "values": values} for replica, values in streams.items()]
    return {"data": {"result": result}}


def _matches(line: Line, query: dict[str, str]) -> bool:
    return line.replica == query.get("replica", line.replica) and line.run == query.get("job_history_name", line.run)
