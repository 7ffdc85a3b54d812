"""The events of an evaluation, in the order in which the driver yields them.

    Created Submitted (Polled* Extended)* Polled+ ( Left | Judged Reported Exported* )

`follow` starts at Submitted, or at Polled where it may not submit; `judge` starts at Judged.

When an event is yielded, everything that it contains is on disk. A consumer may abandon the iterator at any event:
closing it releases the ledger and never affects jobs, and any later process can continue with `follow`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from nel_action.errors import ExitCode, NelActionError
from nel_action.exporters.interface import ExportOutcome
from nel_action.gating.verdict import GateReport
from nel_action.ledger import AttemptRow
from nel_action.lifecycle.session import JobView, Session
from nel_action.model.results import Results
from nel_action.planning.jobs import Job
from nel_action.report.model import Report

__all__ = [
    "Created",
    "Event",
    "Events",
    "Exported",
    "Extended",
    "ExtensionReason",
    "Judged",
    "Left",
    "Polled",
    "Reported",
    "Submitted",
]


@dataclass(frozen=True, slots=True)
class Created:
    """The invocation has an ID and a run directory; nothing has been submitted."""

    session: Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Every job has an attempt: a new one, one of another invocation, a rejected or a deferred one."""

    session: Session
    jobs: tuple[Job, ...]
    """Jobs that got an attempt in this step."""
    joined: tuple[AttemptRow, ...] = ()
    """Those of them that joined an attempt of another invocation."""
    rejected: tuple[AttemptRow, ...] = ()
    """Those of them that the backend rejected."""
    deferred: tuple[AttemptRow, ...] = ()
    """Those of them that are submitted while the caller waits, as other jobs finish."""


@dataclass(frozen=True, slots=True)
class Polled:
    """The states of all jobs have been observed."""

    views: Sequence[JobView]
    settled: bool
    """Whether all of them are final."""


class ExtensionReason(StrEnum):
    """Why jobs were added to a plan."""

    CONFIRMATION = "confirmation"
    """Failing tasks are run once more with another seed before the change is blamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """Jobs have been added to the plan and submitted."""

    session: Session
    """The invocation with the extended plan."""
    reason: ExtensionReason
    jobs: tuple[Job, ...]
    """The added jobs."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The results have been judged: `results.json` and `gate.json` are on disk. Yielded at most once."""

    results: Results
    gate: GateReport

    @property
    def code(self) -> ExitCode:
        """Exit code of the verdict; no later event changes it."""
        return ExitCode(self.gate.exit_code)


@dataclass(frozen=True, slots=True)
class Reported:
    """The report has been written in all its formats."""

    report: Report


@dataclass(frozen=True, slots=True)
class Exported:
    """The results have been sent to a destination, or could not be."""

    destination: str
    outcome: ExportOutcome | None
    error: NelActionError | None = None
    """Set instead of `outcome` if nothing was sent."""

    @property
    def problems(self) -> tuple[str, ...]:
        """What was not sent, and why."""
        if self.error is not None:
            return (str(self.error),)
        items = self.outcome.items if self.outcome else ()
        return tuple(f"{item.what}: {item.problem}" for item in items if item.problem)


@dataclass(frozen=True, slots=True)
class Left:
    """Jobs are still active; the caller leaves and the jobs run on."""

    code: ExitCode
    """130 if a stop was requested, else 5."""


Event: TypeAlias = Created | Submitted | Polled | Extended | Judged | Reported | Exported | Left
Events: TypeAlias = Generator[Event, None, None]
