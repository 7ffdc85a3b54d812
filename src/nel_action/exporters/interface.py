"""Interface of exporters: the protocol, its types and errors, and retries for destinations that are busy.

ExportError                    3   a destination rejected the results, or some of them
├── DestinationError           3   a destination does not respond or is busy; a retry may succeed
└── MissingExtraError          2   the client library of a destination is not installed
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeVar

from nel_action.errors import ExitCode, NelActionError, Problem
from nel_action.exporters.bundle import Bundle
from nel_action.retry import Backoff, retry
from nel_action.spec.base import SpecModel

__all__ = [
    "Change",
    "CommonSettings",
    "DestinationError",
    "ExportError",
    "ExportOutcome",
    "Exported",
    "Exporter",
    "MissingExtraError",
    "export_each",
    "retry_busy",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")

_TRIES: Final = 4
_BACKOFF: Final = Backoff(initial=1.0, maximum=120.0)
_LONGEST_WAIT: Final = 120.0
"""Seconds; a destination that asks for a longer wait is retried earlier."""


class ExportError(NelActionError):
    """A destination rejected the results."""


class DestinationError(ExportError):
    """A destination does not respond or is busy; the export can be repeated."""

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds after which the destination asks for the next try, if it does."""


class MissingExtraError(ExportError):
    """The client library of an exporter is not installed."""

    exit_code = ExitCode.USAGE

    def __init__(self, destination: str, library: str) -> None:
        super().__init__(
            f"export to {destination} needs {library}, which is not installed",
            hint=f"pip install 'nel-action[{destination}]'",
        )


class CommonSettings(SpecModel):
    """Options of every exporter."""

    log_metrics: tuple[str, ...] = ()
    """Metrics to export: a name, a part of a name, a pattern (`exact_match*`) or `task.metric`; all by default."""
    copy_artifacts: bool = True
    """Export the harness's files too."""
    copy_logs: bool = False
    """Export the jobs' logs too."""
    only_required: bool = True
    """Of the harness's files, export only those with results."""
    job_dirs: tuple[str, ...] = ()
    """Folders that are searched for run directories which this machine's ledger does not list."""


Settings = TypeVar("Settings", bound=CommonSettings)


class Change(StrEnum):
    """Effect of an export at the destination."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Exported:
    """One exported item."""

    what: str
    """A job id, a run's name or a file name."""
    change: Change
    where: str | None = None
    """Path or address at the destination."""
    problem: str | None = None
    """Error message; set if `change` is failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome:
    """Result of one export."""

    destination: str
    items: tuple[Exported, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks, such as a filter without matches or samples that were left out."""

    @property
    def complete(self) -> bool:
        """Whether every item was exported."""
        return all(item.change is not Change.FAILED for item in self.items)


class Exporter(Protocol[Settings]):
    """One destination."""

    @property
    def name(self) -> str:
        """Name of the destination, as in `export.<name>` and `--dest`."""

    @property
    def settings(self) -> type[Settings]:
        """Model of the options in `export.<name>`."""

    def check(self, settings: Settings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Return the problems that would prevent an export, without sending anything.

        Args:
            settings: the validated options.
            environ: variables that credentials are read from.
        """

    def export(self, bundle: Bundle, settings: Settings, environ: Mapping[str, str]) -> ExportOutcome:
        """Export one invocation; exporting it again updates what changed in place and leaves the rest.

        Args:
            bundle: results, verdict and files of the invocation.
            settings: the validated options.
            environ: variables that credentials are read from.

        Raises:
            DestinationError: the destination is not available; the caller retries.
            ExportError: the destination rejected the results.
        """


def retry_busy(call: Callable[[], T], *, tries: int = _TRIES, sleep: Callable[[float], object] = time.sleep) -> T:
    """Call until it returns; wait about 1, 2, 4, … seconds between tries, or as long as the destination asks.

    Args:
        call: the operation; must be safe to repeat.
        tries: calls in all.
        sleep: pauses for that many seconds.

    Raises:
        DestinationError: the last try failed too.
    """

    def delay(error: Exception) -> float | None:
        if not isinstance(error, DestinationError):
            return None
        logger.info("the destination is not available: %s", error)
        return min(error.retry_after or 0.0, _LONGEST_WAIT)

    return retry(call, delay=delay, tries=tries, backoff=_BACKOFF, sleep=sleep)


def export_each(
    calls: Iterable[tuple[str, Callable[[], tuple[Change, str]]]], *, sleep: Callable[[float], object] = time.sleep
) -> tuple[Exported, ...]:
    """Export items independently of each other: a failed one is reported and does not stop the next.

    After a destination has failed to respond in all its tries, the remaining items get one try each.

    Args:
        calls: name of each item, and the function that exports it and returns the change and the address.
        sleep: pauses for that many seconds before another try.
    """
    items: list[Exported] = []
    unavailable = False
    for name, call in calls:
        try:
            change, address = retry_busy(call, tries=1 if unavailable else _TRIES, sleep=sleep)
            logger.debug("%s: %s", name, change.value)
            items.append(Exported(name, change, address))
        except NelActionError as error:
            unavailable = unavailable or isinstance(error, DestinationError)
            items.append(Exported(name, Change.FAILED, None, str(error)))
    return tuple(items)
