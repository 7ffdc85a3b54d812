"""What a runtime is: the way one attempt runs on this machine. Containers and plain processes are its two kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from nel_action.model.job import Reason

__all__ = ["Exit", "Launch", "Places", "Running", "Runtime", "Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a program ended."""

    code: int
    """128 + n for signal n."""
    oom: bool = False
    """Whether the kernel ended it for want of memory."""
    outside: bool = False
    """Whether a signal from somebody else ended it."""
    problem: str | None = None
    """What kept it from running, in the engine's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the harness finds its directories."""

    artifacts: PurePosixPath
    work: PurePosixPath
    task: PurePosixPath
    mounted: bool = False
    """Whether these are places inside a container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that must be done before the program can start, as a program of its own."""

    phase: str
    """What it does, in words (`installing lm_eval`)."""
    argv: tuple[str, ...]
    reason: Reason
    """Why the attempt failed where this does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A program and its environment, values of secrets included."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


class Running(Protocol):
    """A program that runs."""

    async def wait(self) -> Exit:
        """Wait for its end."""

    async def end(self) -> None:
        """End it with all that it started; nothing where it has ended."""


class Runtime(Protocol):
    """The way one attempt runs."""

    @property
    def places(self) -> Places:
        """Where the harness finds its directories."""

    async def setup(self) -> Sequence[Step]:
        """Return what must be done first; empty where everything is there."""

    async def recover(self) -> Running | None:
        """Return the attempt's program where an earlier agent started it; None where nobody has.

        Raises:
            AttemptError: it was started, and is lost.
        """

    async def start(self, launch: Launch) -> Running:
        """Start the program, at most once for each attempt."""

    async def discard(self) -> None:
        """Remove what is left of it, after its ending was written down."""
