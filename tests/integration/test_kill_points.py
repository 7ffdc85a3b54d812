"""Every job runs exactly once and no result is lost, whenever a process is killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.project import Project, kill

from nel_action.model.results import JobOutcome, read_results

ROUNDS = 10


def measure_run(project: Project) -> float:
    """Return the duration of a complete run in seconds."""
    start = time.monotonic()
    done = project.run("--wait")
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start


def assert_complete(project: Project) -> None:
    """Check that the last run has all results, from jobs that ran once each."""
    results = read_results(project.runs[-1] / "results.json")
    assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED] * len(project.tasks)
    assert sorted(project.ran) == sorted(project.tasks)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.timeout(600)
def test_run_after_a_kill_at_a_random_time_is_complete(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311 - times, not secrets
    limit = measure_run(Project(tmp_path / "measure"))
    for number in range(ROUNDS):
        project = Project(tmp_path / f"round{number}")
        process = project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait")
        time.sleep(generator.uniform(0, limit))
        kill(process)
        done = project.run("--wait")
        assert done.returncode == 0, (seed, number, done.stderr)
        assert_complete(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_exits_with_130_and_wait_continues(tmp_path: Path, number: int) -> None:
    project = Project(tmp_path / "p", seconds=2)
    process = project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait")
    deadline = time.monotonic() + 60
    while len(project.ran) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "nel-action wait" in stderr
    assert "Traceback" not in stderr
    done = project.nel("wait", project.runs[-1].name.rsplit("-", 1)[1][:6])
    assert done.returncode == 0, done.stderr
    assert_complete(project)


def test_concurrent_processs_share_the_jobs(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", seconds=0.5)
    processs = [project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait") for _ in range(3)]
    for process in processs:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    assert len(project.runs) == 3
    assert_complete(project)
