"""A clock that advances only by `sleep`."""

from __future__ import annotations

from nel_action.github.rate_limits import Clock

__all__ = ["Sleeper"]


class Sleeper:
    """A clock for `GitHubApi`; `slept` lists all waits."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.time = start
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: self.time, monotonic=lambda: self.time, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
