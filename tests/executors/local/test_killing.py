from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.support import killing
from tests.support.local_jobs import Bench, wait

from nel_action.model.job import JobState, Reason


def kill(bench: Bench, what: str, times: int) -> int:
    """Kill at random points; return how many kills hit something that was not finished."""
    argv = [sys.executable, str(killing.__file__), str(bench.root), "2026", what, str(times)]
    environ = {**bench.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def ran(bench: Bench, times: int) -> list[int]:
    """Return how often each job ran."""
    files = [bench.root / f"ran-{n}" for n in range(times)]
    return [file.read_text().count("ran") if file.exists() else 0 for file in files]


@pytest.mark.parametrize("times", [60])
def test_a_submitter_that_is_killed_at_any_point_runs_nothing_twice_and_loses_nothing(bench: Bench, times: int) -> None:
    assert kill(bench, "submit", times) >= 50
    assert ran(bench, times) == [1] * times
    left = [path for path in (bench.root / "home/local").glob("nel-*") if (path / "secrets.json").exists()]
    assert left == []


@pytest.mark.parametrize("times", [40])
def test_an_agent_that_is_killed_at_any_point_runs_nothing_twice_and_tells_what_was_lost(
    bench: Bench, times: int
) -> None:
    assert kill(bench, "agent", times) >= 3
    executor = bench.executor()
    jobs = killing.jobs(bench.root, times)
    seen = wait(executor, executor.find([job.key for job in jobs]).values())
    assert len(seen) == times
    assert max(ran(bench, times)) == 1
    for job, count in zip(jobs, ran(bench, times), strict=True):
        status = seen[job.key]
        if status.state is JobState.SUCCEEDED:
            assert count == 1
        else:
            assert status.reason is Reason.INFRASTRUCTURE
    # NOTE: how many are lost depends on how fast the machine is; that work goes on between the kills does not.
    assert Counter(status.state for status in seen.values())[JobState.SUCCEEDED] >= 1


@pytest.mark.parametrize("times", [50])
def test_a_collector_that_is_killed_at_any_point_leaves_all_or_nothing(bench: Bench, times: int) -> None:
    assert kill(bench, "collect", times) >= 50
    executor = bench.executor()
    for job in killing.jobs(bench.root, times):
        into = bench.root / job.key
        if (into / "artifacts").exists():
            assert (into / "artifacts/scores.json").read_bytes() == b"x" * 100_000
            assert (into / "logs/client.log").exists()
        executor.collect(executor.find([job.key])[job.key], into)
        assert (into / "artifacts/scores.json").read_bytes() == b"x" * 100_000
