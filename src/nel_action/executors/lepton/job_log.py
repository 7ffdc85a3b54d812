"""A job's log: the lines that the workspace stores, the replica's own copy, and the exit record in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nel_action.errors import NelActionError, UnreachableError
from nel_action.executors.lepton.client import LeptonClient
from nel_action.executors.lepton.jobs import JobRecord
from nel_action.executors.lepton.log_transport import (
    ExitRecord,
    Transmission,
    is_transport_line,
    parse_transmissions,
)
from nel_action.retry import Backoff

if TYPE_CHECKING:
    from leptonai.api.v2.client import APIClient

__all__ = ["JobLog"]

RECORD_LINES: Final = 200
"""Lines at the end of a log that are searched for the exit record."""

CLOCK_TOLERANCE: Final = 120
"""Seconds by which the clocks of this machine and the platform may differ."""

MAX_LOG_RANGE: Final = 29 * 86_400
"""Seconds that one query of the log may span; log services commonly limit it to a month."""

READ_TIMEOUT: Final = 20
"""Seconds without data after which reading a finished replica's log stops."""

FOLLOW_TIMEOUT: Final = 60
"""Seconds without data after which a running replica's log is opened again."""

FOLLOW_BACKOFF: Final = Backoff(initial=2.0, factor=1.0, jitter=0.0)
"""Pauses before a running replica's log is opened again."""

FOLLOW_UNREACHABLE_SECONDS: Final = 600.0
"""Seconds without a response after which following a log fails."""


@dataclass
class JobLog:
    """Reads the logs of jobs; caches exit records, which never change."""

    client: LeptonClient
    clock: Callable[[], float] = time.time
    """Returns seconds since 1970."""
    _exit_records: dict[str, ExitRecord] = field(default_factory=dict)

    def exit_record(self, job: JobRecord) -> ExitRecord | None:
        """Return the exit record of a finished job's latest run; None where the log contains none.

        Raises:
            NelActionError: the log cannot be read.
        """
        if job.id not in self._exit_records:
            start, end = self._time_range(job)
            page = self.client.read_log_page(job.id, start=start, end=end, limit=RECORD_LINES, direction="backward")
            transmissions = parse_transmissions((line for _, line in page), job.name)
            if transmissions and (record := transmissions[-1].exit_record):
                self._exit_records[job.id] = record
        return self._exit_records.get(job.id)

    def lines(self, job: JobRecord) -> Iterator[str]:
        """Yield the complete stored log, oldest line first.

        Raises:
            NelActionError: the log cannot be read.
        """
        start, end = self._time_range(job)
        for page in self.client.read_log(job.id, start=start, end=end):
            yield from (line for _, line in page)

    def transmission(self, job: JobRecord) -> Transmission | None:
        """Return the transmission of the latest run, completed with the lines that only the replica still has.

        Raises:
            NelActionError: the log cannot be read.
        """
        stored = parse_transmissions(self.lines(job), job.name)
        latest = stored[-1] if stored else None
        if latest is not None and latest.exit_record is not None and not latest.missing:
            return latest
        live = {each.run: each for each in parse_transmissions(self._read_replica_logs(job), job.name)}
        if latest is None:
            return list(live.values())[-1] if live else None
        if (same_run := live.get(latest.run)) is not None:
            latest.parts |= same_run.parts
            latest.exit_record = latest.exit_record or same_run.exit_record
        return latest

    def stream(self, find_job: Callable[[], JobRecord | None], *, follow: bool) -> Iterator[str]:
        """Yield the lines of a job's log without the transport lines.

        Args:
            find_job: returns the job's current record; None while the workspace does not list it.
            follow: continue until the job has finished and its log was read to the end.

        Raises:
            UnreachableError: the platform did not respond, for ten minutes where the log is followed.
        """
        delivered, responded = 0, self.client.clock()
        for pause in FOLLOW_BACKOFF.delays() if follow else ():
            job = find_job()
            if job is not None and not job.active:
                break
            try:
                for index, line in enumerate(self._follow_replica_log(job) if job is not None else ()):
                    if index >= delivered:
                        delivered += 1
                        if not is_transport_line(line):
                            yield line
                responded = self.client.clock()
            except NelActionError as error:
                if self.client.clock() - responded > FOLLOW_UNREACHABLE_SECONDS:
                    raise UnreachableError(error.problems[0].message) from error
            self.client.sleep(pause)
        job = find_job()
        for index, line in enumerate(self.lines(job) if job is not None else ()):
            if index >= delivered and not is_transport_line(line):
                yield line

    def _read_replica_logs(self, job: JobRecord) -> list[str]:
        """Return the log that the replicas still have; empty where they are gone."""

        def read(sdk: APIClient) -> list[str]:
            lines = []
            for replica in sdk.job.get_replicas(job.id):
                text = "".join(sdk.job.get_log(job.id, replica, timeout=READ_TIMEOUT))
                lines += text.splitlines()
            return lines

        try:
            return self.client.call("read a log", read)
        except NelActionError:
            return []

    def _follow_replica_log(self, job: JobRecord) -> Iterator[str]:
        """Yield the lines of the running replica from its start, until it ends, is silent or the stream breaks."""
        import requests

        replicas = self.client.call("list a job's replicas", lambda sdk: sdk.job.get_replicas(job.id))
        rest = ""
        try:
            log = self.client.sdk.job.get_log(job.id, replicas[-1], timeout=FOLLOW_TIMEOUT) if replicas else ()
            for text in log:
                *lines, rest = (rest + text).split("\n")
                yield from lines
        except (requests.RequestException, RuntimeError, UnicodeDecodeError):
            # NOTE: the caller opens the stream again and skips the lines that it has delivered.
            return
        if rest:
            yield rest

    def _time_range(self, job: JobRecord) -> tuple[int, int]:
        """Return the first and last possible timestamp of a job's lines, in nanoseconds since 1970; never 0."""
        # NOTE: timestamps of lines are the platform's, whose clock may be ahead of this machine's.
        end = max(self.clock(), job.created, job.completed) + CLOCK_TOLERANCE
        start = max(job.created - CLOCK_TOLERANCE, end - MAX_LOG_RANGE)
        return max(int(start * 1e9), 1), int(end * 1e9)
