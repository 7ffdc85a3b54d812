"""Every error this program raises on purpose, and the exit code each one means.

NelActionError                 3   what could not be seen cannot be judged
├── UsageError                 2   the spec or the command line is wrong
│   ├── SpecError              2   one or more problems in a spec, each with its place
│   └── NotFoundError          2   no such invocation, task, metric, file
│       └── AmbiguousError     2   several answer to it
├── UnreachableError           3   a backend, endpoint or engine does not answer
│   ├── EndpointError          3   the target refused or failed the one tiny request
│   └── EngineError            3   Docker, Slurm, Lepton: not there, not allowed, not working
├── ExecutorError              3   a backend refused a job, or gave back less than it should
│   └── CollectError           3   artifacts did not come back whole
├── ResultsError               3   result files that are missing, truncated or not comparable
├── SecretError                2   a variable that the spec names is not set
└── CancelledError           130   somebody asked to stop
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
    "ResultsError",
    "SecretError",
    "SpecError",
    "UnreachableError",
    "UsageError",
]


class ExitCode(IntEnum):
    """What the command line, the action's `exit-code` output and the check's conclusion agree on."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    UNMEASURABLE = 3
    INCONCLUSIVE = 4
    RUNNING = 5
    CANCELLED = 130


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file that a person wrote; `line` and `column` count from 1."""

    file: Path
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what happened, where, and what to do."""

    message: str
    """One line, no full stop, in the user's words."""
    location: Location | None = None
    """Where it was written, if it was written anywhere."""
    hint: str | None = None
    """The next step that would mend it."""

    def __str__(self) -> str:
        place = f"{self.location}: " if self.location else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.message}{hint}"


class NelActionError(Exception):
    """The root of the tree; carries a hint for the user and an exit code for the caller."""

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
    """All that is wrong with a spec, told at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class NotFoundError(UsageError):
    """A name that nothing answers to."""


class AmbiguousError(NotFoundError):
    """A name that several things answer to."""


class UnreachableError(NelActionError):
    """Something outside did not answer; that says nothing about any job."""


class EndpointError(UnreachableError):
    """The target did not answer one tiny request as an OpenAI-compatible endpoint would."""


class EngineError(UnreachableError):
    """A backend is not there, not allowed or not healthy."""


class ExecutorError(NelActionError):
    """A backend refused what was asked of it."""


class CollectError(ExecutorError):
    """Artifacts or logs did not come back whole."""


class ResultsError(NelActionError):
    """Result files are missing, truncated, malformed or not comparable."""


class SecretError(UsageError):
    """A variable that the spec names has no value here."""


class CancelledError(NelActionError):
    """The caller asked to stop; what runs elsewhere goes on unless it was cancelled too."""

    exit_code = ExitCode.CANCELLED
