"""Continuation by a later process, after submission, cancellation, a kill or the loss of the runner."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.act import ROOT
from tests.support.gate_reports import archive_of, make_report, make_results
from tests.support.workplace import Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


class Gate:
    """A pull request with a benchmark that waits for a file."""

    def __init__(self, workplace: Workplace, tmp_path: Path, value: float = 0.8) -> None:
        self.workplace, self.go = workplace, tmp_path / "go"
        workplace.write_spec({"arith": {"value": value, "until": str(self.go)}}, FLOOR)
        base = workplace.commit("base")
        self.head = workplace.commit("head")
        self.payload: dict[str, Any] = workplace.pull_request(self.head, base)

    @property
    def check(self) -> dict[str, Any]:
        (check,) = self.workplace.hub.store.checks_of(self.head)
        return check

    def finish_benchmark(self) -> None:
        """Let the benchmark continue, and wait until its job has finished."""
        self.go.touch()
        self.workplace.wait_for("local/nel-*/exit.json")

    def new_runner(self) -> None:
        """Delete the data that is lost with an ephemeral runner; the backend keeps its own."""
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (self.workplace.home / name).unlink(missing_ok=True)
        shutil.rmtree(self.workplace.work / "runs", ignore_errors=True)

    def states(self) -> set[str]:
        """Return the states of all attempts in the ledger."""
        with sqlite3.connect(self.workplace.home / "ledger.db") as ledger:
            return {row[0] for row in ledger.execute("select state from attempts")}


@pytest.fixture
def gate(workplace: Workplace, tmp_path: Path) -> Gate:
    return Gate(workplace, tmp_path)


def test_submit_leaves_check_open_and_collect_concludes_it(gate: Gate, workplace: Workplace) -> None:
    result = workplace.act("pull_request", gate.payload, mode="submit")
    assert (result.code, result.outputs["state"], gate.check["status"]) == (0, "running", "in_progress")

    gate.new_runner()
    early = workplace.act("schedule", {}, mode="collect", spec="")
    assert (early.code, early.outputs["state"], gate.check["status"]) == (0, "running", "in_progress")

    gate.finish_benchmark()
    gate.new_runner()
    result = workplace.act("schedule", {}, mode="collect", spec="")
    assert (result.code, gate.check["conclusion"]) == (0, "success"), result.log
    (comment,) = workplace.hub.store.comments_of(2)
    assert "arith" in comment["body"]
    assert workplace.act("schedule", {}, mode="collect", spec="").outputs["summary"] == "no open check"


def test_collect_applies_policy_at_submission(workplace: Workplace, tmp_path: Path) -> None:
    gate = Gate(workplace, tmp_path, value=0.2)
    workplace.act("pull_request", gate.payload, mode="submit")
    workplace.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.01}}})
    workplace.commit("a laxer main")
    gate.finish_benchmark()
    result = workplace.act("repository_dispatch", {"client_payload": {"sha": gate.head}}, mode="collect", spec="")
    assert (result.code, gate.check["conclusion"], result.outputs["verdict"]) == (0, "failure", "fail")


def add_run_of_main(workplace: Workplace, folder: Path, value: float) -> None:
    """Upload the results of a run on main that passed, as those of a new commit."""
    store = workplace.hub.store
    results = make_results(value, commit=f"{len(store.artifacts) + 1:040x}", tasks=("arith",))
    score = results.tasks[0].scores[0].model_copy(update={"metric": "accuracy"})
    known = {"harness": "command", "task_version": "1", "model": "tiny", "primary_metric": "accuracy"}
    task = results.tasks[0].model_copy(update=known | {"scores": (score,)})
    report = make_report(results=results.model_copy(update={"tasks": (task,)}))
    number = store.add_artifact(len(store.artifacts) + 1, "nel-action-benchmark-gate", archive_of(report, folder))
    run = {"repository_id": 5, "head_repository_id": 5, "head_branch": "main", "head_sha": report.results.commit}
    store.artifacts[number]["workflow_run"] |= run
    store.runs[store.artifacts[number]["workflow_run"]["id"]] = {
        "id": store.artifacts[number]["workflow_run"]["id"],
        "event": "push",
        "head_sha": report.results.commit,
    }


def test_collect_compares_with_the_baseline_at_submission(workplace: Workplace, tmp_path: Path) -> None:
    gate = Gate(workplace, tmp_path, value=0.3)
    spec = workplace.work / "evals/gate.yaml"
    policy = {"baseline": "main", "on_missing_baseline": "fail", "tasks": {"arith": {"max_drop": 0.1}}}
    spec.write_text(yaml.safe_dump(yaml.safe_load(spec.read_text()) | {"gate": policy}, sort_keys=False))
    base = workplace.commit("base with a baseline")
    gate.head = workplace.commit("head of the change")
    add_run_of_main(workplace, tmp_path / "first", 0.9)
    submitted = workplace.act("pull_request", workplace.pull_request(gate.head, base), mode="submit")
    assert submitted.outputs["state"] == "running", submitted.log
    add_run_of_main(workplace, tmp_path / "second", 0.3)
    gate.finish_benchmark()
    gate.new_runner()
    result = workplace.act("schedule", {}, mode="collect", spec="")
    assert (result.outputs["verdict"], gate.check["conclusion"]) == ("fail", "failure"), result.log
    assert "fell 60 pp" in result.outputs["summary"]
    (comment,) = workplace.hub.store.comments_of(2)
    assert f"commit {1:012x}"[:18] in comment["body"].replace("\\", "")


def test_collect_finds_check_on_branch_without_pull_request(workplace: Workplace, tmp_path: Path) -> None:
    gate = Gate(workplace, tmp_path)
    workplace.hub.store.pulls.clear()
    result = workplace.act("workflow_dispatch", {}, mode="submit")
    assert result.outputs["state"] == "running"
    workplace.hub.store.runs[77] = {"id": 77, "head_sha": gate.head}
    gate.finish_benchmark()
    workplace.act("schedule", {}, mode="collect", spec="")
    assert gate.check["conclusion"] == "success"


def test_dispatch_requires_complete_commit_id(gate: Gate, workplace: Workplace) -> None:
    result = workplace.act("repository_dispatch", {"client_payload": {"sha": "../../x"}}, mode="collect", spec="")
    assert result.code == 2
    assert any("40 hex digits" in message for message in result.commands("error"))
    assert gate.head


def test_submit_without_check_fails(gate: Gate, workplace: Workplace) -> None:
    workplace.hub.grant(contents="read", pull_requests="write")
    result = workplace.act("pull_request", gate.payload, mode="submit")
    assert (result.code, result.outputs["state"]) == (5, "running")


def test_second_submission_of_commit_joins_the_first(gate: Gate, workplace: Workplace) -> None:
    for _ in range(2):
        workplace.act("pull_request", gate.payload, mode="submit")
        gate.new_runner()
    assert len(list((workplace.home / "local").glob("nel-*-*"))) == 1
    gate.finish_benchmark()
    result = workplace.act("pull_request", gate.payload)
    assert (result.outputs["verdict"], gate.check["conclusion"]) == ("pass", "success")


def test_collect_reports_damaged_state_in_the_check(gate: Gate, workplace: Workplace) -> None:
    workplace.act("pull_request", gate.payload, mode="submit")
    gate.check["output"]["text"] = "edited by a user"
    result = workplace.act("schedule", {}, mode="collect", spec="")
    assert (result.code, gate.check["conclusion"]) == (3, "failure")
    assert "run the workflow again" in gate.check["output"]["summary"]


@pytest.mark.parametrize("on_cancel", ["keep", "cancel"])
def test_cancellation_while_waiting(gate: Gate, workplace: Workplace, on_cancel: str) -> None:
    environ, temp = workplace.prepare("pull_request", gate.payload, on_cancel=on_cancel)
    step = workplace.start(environ, temp)
    workplace.wait_for("local/nel-*")
    workplace.cancel(step, after=1)
    result = workplace.finish(step, environ, temp)
    assert (result.code, result.outputs["state"], result.outputs["exit-code"]) == (130, "cancelled", "130")
    if on_cancel == "cancel":
        assert gate.states() == {"cancelled"}
        assert gate.check["conclusion"] == "cancelled"
        return
    assert gate.check["status"] == "in_progress"
    gate.finish_benchmark()
    workplace.act("schedule", {}, mode="collect", spec="")
    assert gate.check["conclusion"] == "success"


def test_shell_of_action_yml_passes_signals_on(gate: Gate, workplace: Workplace) -> None:
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    script = next(step["run"] for step in steps if step.get("id") == "run")
    environ, temp = workplace.prepare("pull_request", gate.payload, on_cancel="cancel")
    venv = temp / "nel-action/venv/bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "python").chmod(0o755)
    path = temp / "script.sh"
    path.write_text(script)
    # NOTE: like the runner, which signals this process only.
    argv = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(path)]
    environ["GITHUB_OUTPUT"] = str(temp / "outputs-run")
    step = subprocess.Popen(
        argv, cwd=workplace.work, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    workplace.wait_for("local/nel-*")
    step.send_signal(signal.SIGINT)
    result = workplace.finish(step, environ, temp)
    assert (result.code, gate.check["conclusion"], gate.states()) == (130, "cancelled", {"cancelled"})


@pytest.mark.parametrize("seed", range(6))
def test_cancellation_at_any_time_leaves_no_open_check_or_job(gate: Gate, workplace: Workplace, seed: int) -> None:
    delay = random.Random(seed).uniform(0.1, 4.0)  # noqa: S311 - no secret
    environ, temp = workplace.prepare("pull_request", gate.payload, on_cancel="cancel")
    step = workplace.start(environ, temp)
    workplace.cancel(step, after=delay)
    result = workplace.finish(step, environ, temp)
    assert step.returncode != 0
    assert result.outputs["verdict"] == "none"
    assert all(check["status"] == "completed" for check in workplace.hub.store.checks_of(gate.head))
    if (workplace.home / "ledger.db").exists():
        assert gate.states() <= {"cancelled"}


def test_final_step_completes_killed_step(gate: Gate, workplace: Workplace) -> None:
    environ, temp = workplace.prepare("pull_request", gate.payload, on_cancel="cancel")
    step = workplace.start(environ, temp)
    workplace.wait_for("local/nel-*")
    step.kill()
    result = workplace.finish(step, environ, temp)
    assert result.outputs["state"] == "cancelled"
    assert (gate.check["conclusion"], gate.states()) == ("cancelled", {"cancelled"})


def test_hosted_runner_leaves_no_local_jobs_running(gate: Gate, workplace: Workplace) -> None:
    workplace.environ["RUNNER_ENVIRONMENT"] = "github-hosted"
    result = workplace.act("pull_request", gate.payload, mode="submit")
    assert (result.code, gate.check["conclusion"]) == (2, "failure")
    result = workplace.act("pull_request", gate.payload, max_wait="1")
    assert (result.code, result.outputs["verdict"]) == (3, "unmeasurable")
    assert gate.states() == {"cancelled"}
