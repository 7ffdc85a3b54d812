"""The errors that this program raises on purpose, and the exit code of each.

NelActionError                 3   something could not be measured
├── UsageError                 2   the spec or the command line is wrong
│   ├── SpecError              2   one or more problems in a spec, each with its location
│   └── NotFoundError          2   no such invocation, task, metric, file
│       └── AmbiguousError     2   several match the name
├── UnreachableError           3   a backend, endpoint or engine does not respond
│   ├── EndpointError          3   the target refused or failed the one tiny request
│   └── EngineError            3   Docker, Slurm, Lepton: not there, not allowed, not working
├── ExecutorError              3   a backend rejected a job or returned incomplete data
│   ├── CollectError           3   artifacts or logs are incomplete
│   └── QueueFullError         3   a backend accepts no further job for the moment
├── ResultsError               3   result files that are missing, truncated or not comparable
├── SecretError                2   a variable that the spec names is not set
└── CancelledError           130   the caller asked to stop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

__all__ = [
    "AmbiguousError",
    "CancelledError",
    "CollectError",
    "EndpointError",
    "EngineError",
    "ExecutorError",
    "ExitCode",
    "Location",
    "NelActionError",
    "NotFoundError",
    "Problem",
    "QueueFullError",
    "ResultsError",
    "SecretError",
    "SpecError",
    "SpecProblem",
    "UnreachableError",
    "UsageError",
]


class ExitCode(IntEnum):
    """Exit codes of the command line, of the action's `exit-code` output and behind the check's conclusion."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    UNMEASURABLE = 3
    INCONCLUSIVE = 4
    RUNNING = 5
    CANCELLED = 130


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A position in a file of the user; `line` and `column` count from 1."""

    file: Path
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: what failed, where, and the fix."""

    message: str
    """One line without a full stop."""
    location: Location | None = None
    """Where the cause is written, if it is in a file."""
    hint: str | None = None
    """The fix."""

    @property
    def text(self) -> str:
        """Message and hint on one line, for results and verdicts."""
        return f"{self.message}; {' '.join(self.hint.split())}" if self.hint else self.message

    def __str__(self) -> str:
        prefix = f"{self.location}: " if self.location else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{prefix}{self.message}{hint}"


@dataclass(frozen=True, slots=True)
class SpecProblem(Problem):
    """A problem whose cause is written in the spec, found by an executor's check of its backend."""


class NelActionError(Exception):
    """Base class of all errors, with problems for the user and an exit code for the caller."""

    exit_code: ClassVar[ExitCode] = ExitCode.UNMEASURABLE

    def __init__(self, message: str, *, hint: str | None = None, location: Location | None = None) -> None:
        super().__init__(message)
        self.problems: tuple[Problem, ...] = (Problem(message, location, hint),)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UsageError(NelActionError):
    """The spec or the command line is wrong; nothing was run."""

    exit_code = ExitCode.USAGE


class SpecError(UsageError):
    """All problems of a spec, reported together."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class NotFoundError(UsageError):
    """A name that matches nothing."""


class AmbiguousError(NotFoundError):
    """A name that matches several things."""


class UnreachableError(NelActionError):
    """An external system did not respond; the states of jobs there are unknown."""


class EndpointError(UnreachableError):
    """The target did not answer a minimal request as an OpenAI-compatible endpoint does."""


class EngineError(UnreachableError):
    """A backend is missing, not permitted or not healthy."""


class ExecutorError(NelActionError):
    """A backend rejected a request."""


class CollectError(ExecutorError):
    """Artifacts or logs are incomplete."""


class QueueFullError(ExecutorError):
    """A backend accepts no further job for the moment, because of a limit on the number of queued jobs."""


class ResultsError(NelActionError):
    """Result files are missing, truncated, malformed or not comparable."""


class SecretError(UsageError):
    """A variable that the spec names is not set."""


class CancelledError(NelActionError):
    """The caller asked to stop; jobs on other machines continue unless they were cancelled as well."""

    exit_code = ExitCode.CANCELLED
