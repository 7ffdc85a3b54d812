"""Reading a log as it grows, and afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from nel_action.errors import NelActionError, UnreachableError
from nel_action.executors.lepton.client import Cloud
from nel_action.executors.lepton.job_log import History, job_id
from nel_action.executors.lepton.log_transport import is_ours

__all__ = ["stream"]

PAUSE: Final = 2.0
STREAM_SECONDS: Final = 60
"""Seconds without a word after which the stream is opened anew."""

UNREACHABLE_LIMIT: Final = 600.0
"""Seconds without an answer after which following is given up."""


def stream(
    cloud: Cloud,
    history: History,
    look: Callable[[], Mapping[str, Any] | None],
    *,
    follow: bool,
    ended: Callable[[], bool],
) -> Iterator[str]:
    """Yield the lines of a job's log, without what is meant for us.

    Args:
        cloud: the workspace.
        history: reads what the workspace keeps.
        look: returns the job as the workspace has it now.
        follow: go on until the job has ended and all was read.
        ended: tells whether it has.

    Raises:
        UnreachableError: the platform did not answer, for ten minutes where the log is followed.
    """
    told, heard = 0, time.monotonic()
    while follow and not ended():
        item = look()
        try:
            for at, line in enumerate(_live(cloud, item) if item is not None else ()):
                if at >= told:
                    told += 1
                    if not is_ours(line):
                        yield line
            heard = time.monotonic()
        except NelActionError as error:
            if time.monotonic() - heard > UNREACHABLE_LIMIT:
                raise UnreachableError(error.problems[0].message) from error
        cloud.sleep(PAUSE)
    item = look()
    if item is None:
        return
    for at, line in enumerate(history.lines(item)):
        if at >= told and not is_ours(line):
            yield line


def _live(cloud: Cloud, item: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the container that runs now, from its beginning, until it ends or says nothing for long."""
    import requests

    jobs, identity = cloud.client.job, job_id(item)
    replicas = cloud.call("list a job's containers", lambda: jobs.get_replicas(identity))
    rest = ""
    try:
        for text in jobs.get_log(identity, replicas[-1], timeout=STREAM_SECONDS) if replicas else ():
            *lines, rest = (rest + text).split("\n")
            yield from lines
    except (requests.RequestException, RuntimeError, UnicodeDecodeError):
        # NOTE: the stream broke; whoever follows opens it anew and skips what was told.
        return
    if rest:
        yield rest
