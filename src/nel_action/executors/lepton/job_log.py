"""A job's log as the workspace keeps it, and what the job says in it of its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nel_action.errors import ExecutorError, NelActionError
from nel_action.executors.lepton.client import Cloud
from nel_action.executors.lepton.log_transport import EndRecord, Message, read_messages
from nel_action.executors.lepton.names import mapping

__all__ = ["History", "job_id", "job_name"]

TAIL: Final = 200
"""Lines at the end of a log that hold the record, if there is one."""

SLACK: Final = 120
"""Seconds by which clocks may differ."""

LONGEST: Final = 29 * 86_400
"""Seconds: services of logs answer for about a month at once."""

STREAM_SECONDS: Final = 20
"""Seconds for the log of a container that has ended, read from its machine."""


def job_id(item: Mapping[str, Any]) -> str:
    """Return what the platform calls a job."""
    metadata = mapping(item.get("metadata"))
    return str(metadata.get("id") or metadata.get("name") or "")


def job_name(item: Mapping[str, Any]) -> str:
    """Return what we called a job."""
    return str(mapping(item.get("metadata")).get("name") or "")


@dataclass
class History:
    """Reads logs; remembers records, which never change."""

    cloud: Cloud
    clock: Callable[[], float] = time.time
    _records: dict[str, EndRecord] = field(default_factory=dict)

    def record(self, item: Mapping[str, Any]) -> EndRecord | None:
        """Return what the newest run of a job that has ended says of its end; None where it says nothing.

        Raises:
            NelActionError: the log cannot be read.
        """
        identity = job_id(item)
        if identity not in self._records:
            start, end = self._times(item)
            page = self.cloud.log_page(identity, start=start, end=end, limit=TAIL, direction="backward")
            messages = read_messages((line for _, line in page), job_name(item))
            if messages and (record := messages[-1].end):
                self._records[identity] = record
        return self._records.get(identity)

    def lines(self, item: Mapping[str, Any]) -> Iterator[str]:
        """Yield the whole log, oldest line first.

        Raises:
            NelActionError: the log cannot be read.
        """
        start, end = self._times(item)
        for page in self.cloud.log_pages(job_id(item), start=start, end=end):
            yield from (line for _, line in page)

    def message(self, item: Mapping[str, Any]) -> Message | None:
        """Return all that the newest run has sent, as far as it can be had.

        Raises:
            NelActionError: the log cannot be read.
        """
        messages = read_messages(self.lines(item), job_name(item))
        found = messages[-1] if messages else None
        if found is not None and found.end is not None and not found.missing:
            return found
        # NOTE: what the service of logs has lost, the machine may still have.
        more = {message.run: message for message in read_messages(self._live(item), job_name(item))}
        if found is None:
            return list(more.values())[-1] if more else None
        if (other := more.get(found.run)) is not None:
            found.parts |= other.parts
            found.end = found.end or other.end
        return found

    def _live(self, item: Mapping[str, Any]) -> list[str]:
        """Return the log from the machine itself, if it is still there."""
        jobs, identity = self.cloud.client.job, job_id(item)

        def read() -> list[str]:
            found = []
            for replica in jobs.get_replicas(identity):
                text = "".join(jobs.get_log(identity, replica, timeout=STREAM_SECONDS))
                found += text.splitlines()
            return found

        try:
            return self.cloud.call("read a log", read)
        except (NelActionError, ExecutorError):
            return []

    def _times(self, item: Mapping[str, Any]) -> tuple[int, int]:
        """Return from when to when a job may have written, in nanoseconds; neither may be 0."""
        created = float(mapping(item.get("metadata")).get("created_at") or 0) / 1000
        ended = float(mapping(item.get("status")).get("completion_time") or 0) / 1000
        # NOTE: this machine's clock and the platform's may differ, and its lines have the platform's.
        end = max(self.clock(), created, ended) + SLACK
        start = max(created - SLACK, end - LONGEST)
        return max(int(start * 1e9), 1), int(end * 1e9)
