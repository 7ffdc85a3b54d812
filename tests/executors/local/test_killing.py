"""Processes killed at random points: no job runs twice, and none is lost silently."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.support import killing
from tests.support.local_jobs import Bench, wait

from nel_action.model.job import JobState, Reason

pytestmark = pytest.mark.slow


def kill(bench: Bench, mode: str, count: int) -> int:
    """Run the killing program; return how many kills hit an unfinished process."""
    argv = [sys.executable, str(killing.__file__), str(bench.root), "2026", mode, str(count)]
    environ = {**bench.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=240)
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


def runs(bench: Bench, count: int) -> list[int]:
    """Return how often each job ran."""
    files = [bench.root / f"ran-{n}" for n in range(count)]
    return [file.read_text().count("ran") if file.exists() else 0 for file in files]


@pytest.mark.parametrize("count", [60])
def test_a_killed_submitter_runs_no_job_twice_and_loses_none(bench: Bench, count: int) -> None:
    assert kill(bench, "submit", count) >= 50
    assert runs(bench, count) == [1] * count
    secrets = [path for path in (bench.root / "home/local").glob("nel-*") if (path / "secrets.json").exists()]
    assert secrets == []


@pytest.mark.parametrize("count", [40])
def test_a_killed_supervisor_runs_no_job_twice_and_reports_lost_jobs(bench: Bench, count: int) -> None:
    assert kill(bench, "supervise", count) >= 3
    executor = bench.executor()
    jobs = killing.make_jobs(bench.root, count)
    statuses = wait(executor, executor.find([job.key for job in jobs]).values())
    assert len(statuses) == count
    assert max(runs(bench, count)) == 1
    for job, times in zip(jobs, runs(bench, count), strict=True):
        status = statuses[job.key]
        if status.state is JobState.SUCCEEDED:
            assert times == 1
        else:
            assert status.reason is Reason.INFRASTRUCTURE
    # NOTE: how many jobs are lost depends on the speed of the machine; at least one must succeed between the kills.
    assert Counter(status.state for status in statuses.values())[JobState.SUCCEEDED] >= 1


@pytest.mark.parametrize("count", [50])
def test_a_killed_collector_leaves_complete_copies_or_none(bench: Bench, count: int) -> None:
    assert kill(bench, "collect", count) >= 50
    executor = bench.executor()
    for job in killing.make_jobs(bench.root, count):
        into = bench.root / job.key
        if (into / "artifacts").exists():
            assert (into / "artifacts/scores.json").read_bytes() == b"x" * 100_000
            assert (into / "logs/client.log").exists()
        executor.collect(executor.find([job.key])[job.key], into)
        assert (into / "artifacts/scores.json").read_bytes() == b"x" * 100_000
