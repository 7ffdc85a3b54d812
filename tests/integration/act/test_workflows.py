"""Complete runs of all workflows in `workflows/`: set-up, steps, outputs, artifacts."""

from __future__ import annotations

import getpass
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.store import Identity
from tests.github.test_commands import BEFORE, comment_payload
from tests.support.act import ROOT, Act
from tests.support.slurm.sshd import Sshd
from tests.support.workplace import Workplace

pytestmark = pytest.mark.act

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def commit_repository(act: Act, spec: str, value: float = 0.8, **extra: str) -> Workplace:
    """Commit a repository with a spec of this name."""
    workplace = act.workplace
    workplace.write_spec({"arith": {"value": value} | extra}, FLOOR)
    (workplace.work / "evals/gate.yaml").rename(workplace.work / "evals" / spec)
    workplace.commit("base")
    return workplace


def labelled(workplace: Workplace, head: str, base: str) -> dict[str, Any]:
    payload = workplace.pull_request(head, base)
    payload["pull_request"]["labels"] = [{"name": "evaluate"}]
    return payload


def check_of(workplace: Workplace, sha: str) -> dict[str, Any]:
    (check,) = workplace.hub.store.checks_of(sha)
    return check


def require_host_mode(act: Act) -> None:
    if act.platform != "-self-hosted":
        pytest.skip("local jobs stop with their container")


def test_gate_fails_regression_and_uploads_results(act: Act) -> None:
    workplace = commit_repository(act, "gate.yaml")
    base = workplace.git("rev-parse", "HEAD")
    workplace.write_spec({"arith": {"value": 0.2}}, FLOOR)
    head = workplace.commit("head")
    ran = act.run(
        "gate.yml", "pull_request", labelled(workplace, head, base), secrets={"MODEL_API_KEY": "k3y-of-model"}
    )
    assert ran.code == 1, ran.log
    assert check_of(workplace, head)["conclusion"] == "failure"
    assert len(workplace.hub.store.comments_of(2)) == 1
    assert "arith" in ran.summary
    assert (act.artifacts / "nel-action-benchmark-gate/results.json").exists()
    assert "k3y-of-model" not in ran.log


def test_gate_without_label_runs_nothing(act: Act) -> None:
    workplace = commit_repository(act, "gate.yaml")
    head = workplace.git("rev-parse", "HEAD")
    ran = act.run("gate.yml", "pull_request", workplace.pull_request(head, head))
    assert ran.code == 0
    assert workplace.hub.seen == []


def test_gate_runs_for_merge_group(act: Act) -> None:
    workplace = commit_repository(act, "gate.yaml")
    sha = workplace.git("rev-parse", "HEAD")
    payload = example("merge_group.checks_requested")
    payload["merge_group"] |= {"head_sha": sha, "base_sha": sha}
    ran = act.run("gate.yml", "merge_group", payload)
    assert (ran.code, check_of(workplace, sha)["conclusion"]) == (0, "success"), ran.log


def test_gate_after_kill_is_continued_by_next_run(act: Act, tmp_path: Path) -> None:
    require_host_mode(act)
    # NOTE: unlike GitHub, act kills immediately on cancellation and runs no further steps of a composite action.
    go = tmp_path / "go"
    workplace = commit_repository(act, "gate.yaml", until=str(go))
    head = workplace.git("rev-parse", "HEAD")
    payload = labelled(workplace, head, head)
    process = act.start(act.command("gate.yml", "pull_request", payload, {}, ()))
    workplace.wait_for("local/nel-*", timeout=120)
    act.cancel(process)
    assert act.result(process).code != 0
    assert check_of(workplace, head)["status"] == "in_progress"
    go.touch()
    ran = act.run("gate.yml", "pull_request", payload)
    assert (ran.code, check_of(workplace, head)["conclusion"]) == (0, "success"), ran.log
    assert len(list(workplace.home.glob("local/nel-*-*"))) == 1


@pytest.mark.parametrize("workflow", ["slurm", "lepton"])
def test_submit_leaves_check_open_and_collect_concludes_it(act: Act, tmp_path: Path, workflow: str) -> None:
    require_host_mode(act)
    go = tmp_path / "go"
    workplace = commit_repository(act, f"{workflow}.yaml", until=str(go))
    head = workplace.git("rev-parse", "HEAD")
    ran = act.run(f"{workflow}.yml", "pull_request", labelled(workplace, head, head))
    assert (ran.code, check_of(workplace, head)["status"]) == (0, "in_progress"), ran.log
    go.touch()
    workplace.wait_for("local/nel-*/exit.json", timeout=120)
    (workplace.home / "ledger.db").unlink()
    dispatch = ("repository_dispatch", {"action": "nel-action-collect", "client_payload": {"sha": head}})
    ran = act.run("collect.yml", *(dispatch if workflow == "slurm" else ("schedule", {"schedule": "7,27,47 * * * *"})))
    assert (ran.code, check_of(workplace, head)["conclusion"]) == (0, "success"), ran.log
    assert len(workplace.hub.store.comments_of(2)) == 1


SERVED = {
    "type": "generic",
    "command": [sys.executable, "-m", "http.server", "{port}", "--bind", "{host}"],
    "served_model_name": "tiny",
    "port": 0,
    "endpoints": {"health": "/"},
}
"""A server instead of a model; the benchmark sends no requests to it."""


def write_checkpoint(folder: Path, name: str, weights: bytes, *, complete: bool = True) -> None:
    (folder / name / "shards").mkdir(parents=True, exist_ok=True)
    (folder / name / "shards" / "weights 1.bin").write_bytes(weights)
    if complete:
        (folder / name / "config.json").write_text("{}")


def test_checkpoint_is_evaluated_once(act: Act, tmp_path: Path) -> None:
    require_host_mode(act)
    workplace, models = act.workplace, tmp_path / "models"
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR, deployment=SERVED)
    (workplace.work / "evals/gate.yaml").rename(workplace.work / "evals/checkpoint.yaml")
    workplace.commit("base")
    write_checkpoint(models, "step-1", b"1" * 3_000_000)
    write_checkpoint(models, "step-2", b"2" * 3_000_000, complete=False)
    with Sshd(getpass.getuser()) as sshd:
        variables = {"HOST": f"{getpass.getuser()}@127.0.0.1", "PORT": sshd.port, "FOLDER": models}
        options = [arg for name, value in variables.items() for arg in ("--var", f"CHECKPOINT_{name}={value}")]
        options += ["--var", f"SLURM_KNOWN_HOSTS={sshd.known_hosts.strip()}"]
        secrets = {"SLURM_SSH_KEY": sshd.key.read_text()}

        def run_workflow(event: str = "schedule", payload: dict[str, Any] | None = None) -> list[str]:
            """Run the workflow and return the new markers."""
            shutil.rmtree(act.artifacts, ignore_errors=True)
            ran = act.run(
                "checkpoint.yml", event, payload or {"schedule": "11,41 * * * *"}, secrets=secrets, options=options
            )
            assert ran.code == 0, ran.log
            assert sshd.key.read_text().splitlines()[1] not in ran.log
            return sorted(path.name for path in act.artifacts.glob("checkpoint-*"))

        (first,) = run_workflow()
        digest = first.removeprefix("checkpoint-")
        marker = json.loads((act.artifacts / first / "checkpoint.json").read_text())
        assert marker == {"digest": digest, "short": digest[:12], "path": f"{models}/step-1"}
        check = check_of(workplace, workplace.git("rev-parse", "HEAD"))
        assert check["name"] == f"Checkpoint {digest[:12]}"
        workplace.hub.store.add_artifact(4242, first, b"")

        assert run_workflow() == []
        event = {"action": "nel-action-checkpoint", "client_payload": {"path": "/elsewhere/step-1", "digest": digest}}
        assert run_workflow("repository_dispatch", event) == []
        (models / "step-1").rename(models / "renamed")
        write_checkpoint(models, "step-2", b"2" * 3_000_000)
        (second,) = run_workflow()
        assert second != first
    workplace.wait_for("local/nel-*/artifacts/scores.json", timeout=120)
    assert len(list(workplace.home.glob("local/nel-*-*"))) == 2


def test_command_evaluates_the_head_and_other_comments_start_nothing(act: Act) -> None:
    workplace = commit_repository(act, "gate.yaml")
    base = workplace.git("rev-parse", "HEAD")
    workplace.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.0}}})
    head = workplace.commit("head")
    workplace.git("checkout", "-q", base)
    workplace.pull_request(head, base)
    workplace.hub.store.add_push(head, BEFORE)
    workplace.hub.store.roles |= {"maria": "write", "stranger": "read"}
    ran = act.run("commands.yml", "issue_comment", comment_payload("please /evaluate"))
    assert (ran.code, workplace.hub.seen) == (0, []), ran.log
    ran = act.run("commands.yml", "issue_comment", comment_payload(author="stranger"))
    assert (ran.code, len(workplace.hub.seen)) == (0, 1), ran.log
    secrets = {"MODEL_API_KEY": "k3y-of-model"}
    ran = act.run("commands.yml", "issue_comment", comment_payload(), secrets=secrets)
    assert (ran.code, check_of(workplace, head)["conclusion"]) == (1, "failure"), ran.log
    assert "k3y-of-model" not in ran.log


def test_nightly_appends_to_history(act: Act) -> None:
    workplace = commit_repository(act, "nightly.yaml")
    ran = act.run("nightly.yml", "schedule", {"schedule": "23 3 * * *"})
    assert ran.code == 0, ran.log
    assert "nel-action-nightly-benchmarks.jsonl" in workplace.hub.store.read_branch("nel-action-data")


def test_fork_is_measured_without_write_access_and_judged_by_base(act: Act) -> None:
    workplace = commit_repository(act, "fork.yaml")
    base = workplace.git("rev-parse", "HEAD")
    workplace.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.0}}})
    (workplace.work / "evals/gate.yaml").rename(workplace.work / "evals/fork.yaml")
    head = workplace.commit("head")
    identity = workplace.hub.tokens[workplace.hub.token]
    workplace.hub.tokens[workplace.hub.token] = Identity(rights={"contents": "read"})
    ran = act.run("fork-measure.yml", "pull_request", workplace.pull_request(head, base, fork=True))
    assert ran.code == 0, ran.log
    assert [seen for seen in workplace.hub.seen if seen.method != "GET"] == []

    workplace.hub.tokens[workplace.hub.token] = identity
    workplace.hub.store.add_artifact(
        42, "nel-action-benchmark-gate", zipped(act.artifacts / "nel-action-benchmark-gate")
    )
    workplace.git("checkout", "-q", base)
    payload = example("workflow_run.completed")
    fork = {"full_name": "mallory/Hello-World"}
    run = {"id": 42, "head_sha": head, "head_branch": "change", "head_repository": fork, "event": "pull_request"}
    payload["workflow_run"] |= run
    ran = act.run("fork-gate.yml", "workflow_run", payload)
    assert (ran.code, check_of(workplace, head)["conclusion"]) == (0, "failure"), ran.log
    (comment,) = workplace.hub.store.comments_of(2)
    assert "fork's own code" in comment["body"]


def zipped(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return out.getvalue()


def test_all_workflows_are_tested() -> None:
    text = Path(__file__).read_text()
    for path in (ROOT / "workflows").glob("*.yml"):
        assert f'"{path.name}"' in text or f'"{path.stem}"' in text, path.name
