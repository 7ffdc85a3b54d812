"""What another process, on another day, finds again: submitted, cancelled, killed, lost."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.act import ROOT
from tests.support.workplace import Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


class Gate:
    """A pull request whose benchmark waits for a file."""

    def __init__(self, place: Workplace, tmp_path: Path, value: float = 0.8) -> None:
        self.place, self.go = place, tmp_path / "go"
        place.write_spec({"arith": {"value": value, "until": str(self.go)}}, FLOOR)
        base = place.commit("base")
        self.head = place.commit("head")
        self.payload: dict[str, Any] = place.pull_request(self.head, base)

    @property
    def check(self) -> dict[str, Any]:
        (check,) = self.place.hub.store.checks_of(self.head)
        return check

    def ended(self) -> None:
        """Let the benchmark end, and wait until its results lie there."""
        self.go.touch()
        deadline = time.monotonic() + 60
        while not list((self.place.home / "local").glob("nel-*/artifacts/scores.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)

    def new_runner(self) -> None:
        """Lose what an ephemeral runner loses; the backend keeps what it has."""
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (self.place.home / name).unlink(missing_ok=True)
        shutil.rmtree(self.place.work / "runs", ignore_errors=True)

    def states(self) -> set[str]:
        """Return the states of all attempts that the ledger knows."""
        with sqlite3.connect(self.place.home / "ledger.db") as ledger:
            return {row[0] for row in ledger.execute("select state from attempts")}


@pytest.fixture
def gate(place: Workplace, tmp_path: Path) -> Gate:
    return Gate(place, tmp_path)


def test_submit_returns_at_once_and_collect_concludes(gate: Gate, place: Workplace) -> None:
    done = place.act("pull_request", gate.payload, mode="submit")
    assert (done.code, done.outputs["state"], gate.check["status"]) == (0, "running", "in_progress")

    gate.new_runner()
    early = place.act("schedule", {}, mode="collect", spec="")
    assert (early.code, early.outputs["state"], gate.check["status"]) == (0, "running", "in_progress")

    gate.ended()
    gate.new_runner()
    done = place.act("schedule", {}, mode="collect", spec="")
    assert (done.code, gate.check["conclusion"]) == (0, "success"), done.log
    (comment,) = place.hub.store.comments_of(2)
    assert "arith" in comment["body"]
    assert place.act("schedule", {}, mode="collect", spec="").outputs["summary"] == "no check of ours is open"


def test_collect_judges_by_the_rules_of_the_base_at_that_time(place: Workplace, tmp_path: Path) -> None:
    gate = Gate(place, tmp_path, value=0.2)
    place.act("pull_request", gate.payload, mode="submit")
    place.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.01}}})
    place.commit("a laxer main")
    gate.ended()
    done = place.act("repository_dispatch", {"client_payload": {"sha": gate.head}}, mode="collect", spec="")
    assert (done.code, gate.check["conclusion"], done.outputs["verdict"]) == (0, "failure", "fail")


def test_collect_finds_what_was_submitted_on_a_branch_without_a_pull_request(place: Workplace, tmp_path: Path) -> None:
    gate = Gate(place, tmp_path)
    place.hub.store.pulls.clear()
    done = place.act("workflow_dispatch", {}, mode="submit")
    assert done.outputs["state"] == "running"
    place.hub.store.runs[77] = {"id": 77, "head_sha": gate.head}
    gate.ended()
    place.act("schedule", {}, mode="collect", spec="")
    assert gate.check["conclusion"] == "success"


def test_a_dispatch_asks_for_whole_commit_ids_only(gate: Gate, place: Workplace) -> None:
    done = place.act("repository_dispatch", {"client_payload": {"sha": "../../x"}}, mode="collect", spec="")
    assert done.code == 2
    assert any("40 hex digits" in one for one in done.commands("error"))
    assert gate.head


def test_submit_without_a_check_fails_because_nobody_could_wait_for_it(gate: Gate, place: Workplace) -> None:
    place.hub.grant(contents="read", pull_requests="write")
    done = place.act("pull_request", gate.payload, mode="submit")
    assert (done.code, done.outputs["state"]) == (5, "running")


def test_submitting_twice_runs_once(gate: Gate, place: Workplace) -> None:
    for _ in range(2):
        place.act("pull_request", gate.payload, mode="submit")
        gate.new_runner()
    assert len(list((place.home / "local").glob("nel-*-*"))) == 1
    gate.ended()
    done = place.act("pull_request", gate.payload)
    assert (done.outputs["verdict"], gate.check["conclusion"]) == ("pass", "success")


def test_a_state_that_is_not_whole_is_told_in_its_check(gate: Gate, place: Workplace) -> None:
    place.act("pull_request", gate.payload, mode="submit")
    gate.check["output"]["text"] = "edited by somebody"
    done = place.act("schedule", {}, mode="collect", spec="")
    assert (done.code, gate.check["conclusion"]) == (3, "failure")
    assert "run the workflow again" in gate.check["output"]["summary"]


@pytest.mark.parametrize("on_cancel", ["keep", "cancel"])
def test_a_cancel_while_waiting(gate: Gate, place: Workplace, on_cancel: str) -> None:
    environ, temp = place.prepare("pull_request", gate.payload, on_cancel=on_cancel)
    running = place.start(environ, temp)
    deadline = time.monotonic() + 60
    while not list((place.home / "local").glob("nel-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    place.cancel(running, after=1)
    done = place.finish(running, environ, temp)
    assert (done.code, done.outputs["state"], done.outputs["exit-code"]) == (130, "cancelled", "130")
    if on_cancel == "cancel":
        assert gate.states() == {"cancelled"}
        assert gate.check["conclusion"] == "cancelled"
        return
    assert gate.check["status"] == "in_progress"
    gate.ended()
    place.act("schedule", {}, mode="collect", spec="")
    assert gate.check["conclusion"] == "success"


def test_the_shell_of_action_yml_lets_a_cancel_through(gate: Gate, place: Workplace) -> None:
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    script = next(step["run"] for step in steps if step.get("id") == "run")
    environ, temp = place.prepare("pull_request", gate.payload, on_cancel="cancel")
    venv = temp / "nel-action/venv/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "python").chmod(0o755)
    path = temp / "script.sh"
    path.write_text(script)
    # NOTE: as the runner starts a step; a signal goes to this process alone.
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(path)]
    environ["GITHUB_OUTPUT"] = str(temp / "outputs-run")
    running = subprocess.Popen(
        shell, cwd=place.work, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 60
    while not list((place.home / "local").glob("nel-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    done = place.finish(running, environ, temp)
    assert (done.code, gate.check["conclusion"], gate.states()) == (130, "cancelled", {"cancelled"})


@pytest.mark.parametrize("seed", range(6))
def test_a_cancel_at_any_moment_leaves_nothing_open(gate: Gate, place: Workplace, seed: int) -> None:
    moment = random.Random(seed).uniform(0.1, 4.0)  # noqa: S311 - no secret
    environ, temp = place.prepare("pull_request", gate.payload, on_cancel="cancel")
    running = place.start(environ, temp)
    place.cancel(running, after=moment)
    done = place.finish(running, environ, temp)
    assert running.returncode != 0
    assert done.outputs["verdict"] == "none"
    assert all(check["status"] == "completed" for check in place.hub.store.checks_of(gate.head))
    if (place.home / "ledger.db").exists():
        assert gate.states() <= {"cancelled"}


def test_a_kill_without_warning_is_finished_too(gate: Gate, place: Workplace) -> None:
    environ, temp = place.prepare("pull_request", gate.payload, on_cancel="cancel")
    running = place.start(environ, temp)
    deadline = time.monotonic() + 60
    while not list((place.home / "local").glob("nel-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    done = place.finish(running, environ, temp)
    assert done.outputs["state"] == "cancelled"
    assert (gate.check["conclusion"], gate.states()) == ("cancelled", {"cancelled"})


def test_on_a_runner_that_ends_with_the_job_nothing_is_left_to_wait_for(gate: Gate, place: Workplace) -> None:
    place.environ["RUNNER_ENVIRONMENT"] = "github-hosted"
    done = place.act("pull_request", gate.payload, mode="submit")
    assert (done.code, gate.check["conclusion"]) == (2, "failure")
    done = place.act("pull_request", gate.payload, max_wait="1")
    assert (done.code, done.outputs["verdict"]) == (3, "unmeasurable")
    assert gate.states() == {"cancelled"}
