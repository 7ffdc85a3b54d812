"""An invocation's queue: the attempts that its agent works on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nel_action.executors.local.attempt import AttemptDir

__all__ = ["Queue"]


@dataclass(frozen=True, slots=True)
class Queue:
    """What an invocation's agent works on."""

    root: Path
    """The store."""
    invocation: str

    @property
    def path(self) -> Path:
        """The invocation's own folder."""
        return self.root / "agents" / self.invocation

    @property
    def lock(self) -> Path:
        """Locked by the agent for as long as it lives."""
        return self.path / "lock"

    @property
    def log(self) -> Path:
        """What the agent says."""
        return self.path / "log"

    @property
    def servers(self) -> Path:
        """Where the agent keeps its servers' files; there only while it has some."""
        return self.path / "servers"

    def open(self) -> Queue:
        """Create the folder."""
        (self.path / "jobs").mkdir(parents=True, exist_ok=True)
        self.lock.touch()
        return self

    def announce(self, name: str) -> None:
        """Enter an attempt; a name whose directory never appears is passed over."""
        (self.path / "jobs" / name).touch()

    def withdraw(self, name: str) -> None:
        """Take an attempt out that turned out to be another invocation's."""
        (self.path / "jobs" / name).unlink(missing_ok=True)

    def attempts(self) -> list[AttemptDir]:
        """Return the attempts that are there, whether ended or not."""
        try:
            names = [path.name for path in (self.path / "jobs").iterdir()]
        except FileNotFoundError:
            return []
        found = [AttemptDir(self.root / name) for name in sorted(names)]
        return [attempt for attempt in found if attempt.exists()]

    def unfinished(self) -> list[AttemptDir]:
        """Return the attempts that have not ended."""
        return [attempt for attempt in self.attempts() if not attempt.ended]

    def needs_an_agent(self) -> bool:
        """Whether there is something to run, or to take down after an agent that was killed."""
        return self.servers.exists() or bool(self.unfinished())

    def wake(self) -> None:
        """Tell the agent that there is news."""
        (self.path / "wake").touch()

    def news(self) -> int:
        """Return a number that changes with each `wake`."""
        try:
            return (self.path / "wake").stat().st_mtime_ns
        except FileNotFoundError:
            return 0
