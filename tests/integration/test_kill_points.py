"""Whatever dies, and whenever: every job runs exactly once, and nothing is lost."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
from tests.support.project import Project, kill

from nel_action.model.results import JobOutcome, read_results

ROUNDS = 10


def took(project: Project) -> float:
    """Return the seconds of a whole run, in which the moments to kill are drawn."""
    start = time.monotonic()
    done = project.run("--wait")
    assert done.returncode == 0, done.stderr
    return time.monotonic() - start


def whole(project: Project) -> None:
    """Check that the last run has every result, from jobs that ran once each."""
    results = read_results(project.runs[-1] / "results.json")
    assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED] * len(project.tasks)
    assert sorted(project.ran) == sorted(project.tasks)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.timeout(600)
def test_killed_at_random_and_run_again(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - moments, not secrets
    limit = took(Project(tmp_path / "measure"))
    for number in range(ROUNDS):
        project = Project(tmp_path / f"round{number}")
        caller = project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait")
        time.sleep(dice.uniform(0, limit))
        kill(caller)
        done = project.run("--wait")
        assert done.returncode == 0, (seed, number, done.stderr)
        whole(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_leaves_with_130_and_wait_takes_it_up(tmp_path: Path, number: int) -> None:
    project = Project(tmp_path / "p", seconds=2)
    caller = project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait")
    deadline = time.monotonic() + 60
    while len(project.ran) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    caller.send_signal(number)
    _, complaint = caller.communicate(timeout=60)
    assert caller.returncode == 130, complaint
    assert "nel-action wait" in complaint
    assert "Traceback" not in complaint
    done = project.nel("wait", project.runs[-1].name.rsplit("-", 1)[1][:6])
    assert done.returncode == 0, done.stderr
    whole(project)


def test_two_callers_at_once_share_the_jobs(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", seconds=0.5)
    callers = [project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait") for _ in range(3)]
    for caller in callers:
        _, complaint = caller.communicate(timeout=120)
        assert caller.returncode == 0, complaint
    assert len(project.runs) == 3
    whole(project)
