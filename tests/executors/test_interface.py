from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.doubles.executor import MemoryExecutor

from nel_action.executors.interface import Maintaining, find_attempts, poll_attempts
from nel_action.model.job import Attempt, JobState, JobStatus, Key

KEY = Key("nel-0123456789abcdef")
ATTEMPT = Attempt(key=KEY, number=1, backend_id=f"memory-{KEY}-1")


@dataclass
class MaintainedExecutor(MemoryExecutor):
    """Records its maintenance commands among the other calls."""

    def sweep(self, keys: Sequence[Key]) -> None:
        self.calls.append(f"sweep {','.join(keys)}")

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        self.calls.append(f"reconcile {statuses[attempts[0].key].state}")
        return {KEY: JobStatus(state=JobState.UNKNOWN)}


def test_find_attempts_sweeps_before_it_finds() -> None:
    executor = MaintainedExecutor(jobs={(KEY, 1): JobStatus(state=JobState.RUNNING)})
    assert isinstance(executor, Maintaining)
    assert find_attempts(executor, [KEY]) == {KEY: ATTEMPT}
    assert executor.calls == [f"sweep {KEY}", "find"]


def test_poll_attempts_returns_the_reconciled_statuses() -> None:
    executor = MaintainedExecutor(jobs={(KEY, 1): JobStatus(state=JobState.RUNNING)})
    assert poll_attempts(executor, [ATTEMPT])[KEY].state is JobState.UNKNOWN
    assert executor.calls == ["poll", "reconcile running"]


def test_executors_without_maintenance_are_only_queried() -> None:
    executor = MemoryExecutor(jobs={(KEY, 1): JobStatus(state=JobState.RUNNING)})
    assert not isinstance(executor, Maintaining)
    assert find_attempts(executor, [KEY]) == {KEY: ATTEMPT}
    assert poll_attempts(executor, [ATTEMPT])[KEY].state is JobState.RUNNING
    assert executor.calls == ["find", "poll"]
