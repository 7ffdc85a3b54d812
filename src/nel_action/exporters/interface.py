"""What an exporter is: a way to send results to one place, again and again, without ever doubling them.

ExportError                    3   a destination refused, or took only a part
├── DestinationError           3   it does not answer, or is busy; trying again may help
└── MissingExtraError          2   the library that speaks to it is not installed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from nel_action.errors import ExitCode, NelActionError, Problem
from nel_action.exporters.bundle import Bundle
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
]


class ExportError(NelActionError):
    """A destination refused what was sent."""


class DestinationError(ExportError):
    """A destination does not answer or is busy; what was sent may be sent again."""

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds that the destination asks to wait, where it does."""


class MissingExtraError(ExportError):
    """An exporter's library is not installed."""

    exit_code = ExitCode.USAGE

    def __init__(self, destination: str, library: str) -> None:
        super().__init__(
            f"export to {destination} needs {library}, which is not installed",
            hint=f"pip install 'nel-action[{destination}]'",
        )


class CommonSettings(SpecModel):
    """What every destination understands."""

    log_metrics: tuple[str, ...] = ()
    """Only these metrics: a name, a part of one, a pattern (`exact_match*`) or `task.metric`; none means all."""
    copy_artifacts: bool = True
    """Send the harness's files along."""
    copy_logs: bool = False
    """Send the jobs' logs along."""
    only_required: bool = True
    """Of the harness's files only those that hold results."""
    job_dirs: tuple[str, ...] = ()
    """Where to look for run directories that this machine's ledger does not know."""


Settings = TypeVar("Settings", bound=CommonSettings)


class Change(StrEnum):
    """What sending something did at the destination."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Exported:
    """One thing that was sent."""

    what: str
    """A job id, or a file's name."""
    change: Change
    where: str | None = None
    """A path or an address at the destination."""
    problem: str | None = None
    """Set when `change` is failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome:
    """What came of one export."""

    destination: str
    items: tuple[Exported, ...] = ()
    notes: tuple[str, ...] = ()
    """What should be known besides: a filter that matched nothing, samples that were left out."""

    @property
    def complete(self) -> bool:
        """Whether everything arrived."""
        return all(item.change is not Change.FAILED for item in self.items)


class Exporter(Protocol[Settings]):
    """One destination."""

    @property
    def name(self) -> str:
        """The word after `export.` in a spec and after `--dest`."""

    @property
    def settings(self) -> type[Settings]:
        """The model of `export.<name>`."""

    def check(self, settings: Settings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Say what would keep an export from working, without sending anything."""

    def export(self, bundle: Bundle, settings: Settings, environ: Mapping[str, str]) -> ExportOutcome:
        """Send one invocation. Sent before: what is the same stays, what changed is updated in place.

        Raises:
            DestinationError: nothing could be sent for now; the caller tries again.
            ExportError: nothing could be sent.
        """
