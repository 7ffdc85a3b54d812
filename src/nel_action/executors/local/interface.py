"""The runtime protocol: how one attempt runs on this machine, as a container or as a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from nel_action.executors.local.attempt import AttemptDir
from nel_action.model.job import Reason

__all__ = ["ExitStatus", "HarnessPaths", "Launch", "Preceded", "RunningProgram", "Runtime", "SetupStep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a program terminated."""

    code: int
    """128 + n for signal n."""
    oom: bool = False
    """Whether the kernel killed it because memory was exhausted."""
    killed: bool = False
    """Whether another process terminated it by a signal."""
    problem: str | None = None
    """Why the engine could not run it, as the engine reports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessPaths:
    """Directories of an attempt as the harness sees them."""

    artifacts: PurePosixPath
    work: PurePosixPath
    task: PurePosixPath
    mounted: bool = False
    """Whether these are paths inside a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupStep:
    """A command that must succeed before a program can start."""

    phase: str
    """What the command does, for people (`installing lm_eval`)."""
    argv: tuple[str, ...]
    reason: Reason
    """Why the attempt fails if the command does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command line and its environment, including the values of secrets."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


class RunningProgram(Protocol):
    """A program that was started."""

    async def wait(self) -> ExitStatus:
        """Wait until it has terminated."""

    async def terminate(self) -> None:
        """Terminate it and all its child processes; does nothing if it has terminated."""


class Preceded(Exception):  # noqa: N818 a state, not an error
    """Another attempt of the same job started first; this one has started nothing."""

    def __init__(self, attempt: AttemptDir) -> None:
        super().__init__(attempt.name)
        self.attempt = attempt


class Runtime(Protocol):
    """Runs one attempt."""

    @property
    def paths(self) -> HarnessPaths:
        """Directories of the attempt as the harness sees them."""

    async def setup(self) -> Sequence[SetupStep]:
        """Return the steps that are still required before `start`."""

    async def recover(self) -> RunningProgram | None:
        """Return the program that an earlier supervisor started; None if none was started.

        Raises:
            AttemptError: it was started and is lost.
        """

    async def predecessor(self) -> AttemptDir | None:
        """Return another attempt of the same job that runs where this store cannot see it; None if there is none."""

    async def start(self, launch: Launch) -> RunningProgram:
        """Start the program; at most once per attempt.

        Raises:
            Preceded: another attempt of the same job runs.
        """

    async def stop(self) -> None:
        """Ensure that nothing of the attempt runs; called before the exit record is written.

        Raises:
            EngineError: it is not known whether something runs; to be called again.
        """

    async def discard(self) -> None:
        """Remove what remains of the program; called after the exit record was written."""
