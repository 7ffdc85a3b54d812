"""Every workflow of `workflows/`, run whole: set-up, steps, outputs, artifacts."""

from __future__ import annotations

import getpass
import io
import json
import shutil
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.events import example
from tests.doubles.github.store import Identity
from tests.support.act import ROOT, Act
from tests.support.slurm.sshd import Sshd
from tests.support.workplace import Workplace

pytestmark = pytest.mark.act

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def repository(act: Act, spec: str, value: float = 0.8, **extra: str) -> Workplace:
    """Commit a repository whose spec has that name."""
    place = act.place
    place.write_spec({"arith": {"value": value} | extra}, FLOOR)
    (place.work / "evals/gate.yaml").rename(place.work / "evals" / spec)
    place.commit("base")
    return place


def labelled(place: Workplace, head: str, base: str) -> dict[str, Any]:
    payload = place.pull_request(head, base)
    payload["pull_request"]["labels"] = [{"name": "evaluate"}]
    return payload


def check_of(place: Workplace, sha: str) -> dict[str, Any]:
    (check,) = place.hub.store.checks_of(sha)
    return check


def wait_for(place: Workplace, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not list(place.home.glob(pattern)):
        assert time.monotonic() < deadline, pattern
        time.sleep(0.05)


def on_a_machine_that_stays(act: Act) -> None:
    if act.platform != "-self-hosted":
        pytest.skip("jobs on this machine end with the container that they run in")


def test_gate_fails_what_fell_and_keeps_its_results(act: Act) -> None:
    place = repository(act, "gate.yaml")
    base = place.git("rev-parse", "HEAD")
    place.write_spec({"arith": {"value": 0.2}}, FLOOR)
    head = place.commit("head")
    ran = act.run("gate.yml", "pull_request", labelled(place, head, base), secrets={"MODEL_API_KEY": "k3y-of-model"})
    assert ran.code == 1, ran.log
    assert check_of(place, head)["conclusion"] == "failure"
    assert len(place.hub.store.comments_of(2)) == 1
    assert "arith" in ran.summary
    assert (act.artifacts / "nel-action-benchmark-gate/results.json").exists()
    assert "k3y-of-model" not in ran.log


def test_gate_costs_nothing_without_its_label_and_makes_no_check(act: Act) -> None:
    place = repository(act, "gate.yaml")
    head = place.git("rev-parse", "HEAD")
    ran = act.run("gate.yml", "pull_request", place.pull_request(head, head))
    assert ran.code == 0
    assert place.hub.seen == []


def test_gate_judges_a_merge_group(act: Act) -> None:
    place = repository(act, "gate.yaml")
    sha = place.git("rev-parse", "HEAD")
    payload = example("merge_group.checks_requested")
    payload["merge_group"] |= {"head_sha": sha, "base_sha": sha}
    ran = act.run("gate.yml", "merge_group", payload)
    assert (ran.code, check_of(place, sha)["conclusion"]) == (0, "success"), ran.log


def test_gate_killed_in_the_middle_is_taken_up_by_the_next_run(act: Act, tmp_path: Path) -> None:
    on_a_machine_that_stays(act)
    # NOTE: act's cancel is harder than GitHub's: it kills at once and runs no step of a composite afterwards.
    go = tmp_path / "go"
    place = repository(act, "gate.yaml", until=str(go))
    head = place.git("rev-parse", "HEAD")
    payload = labelled(place, head, head)
    running = act.start(act.command("gate.yml", "pull_request", payload, {}, ()))
    wait_for(place, "local/nel-*")
    act.cancel(running)
    assert act.ran(running).code != 0
    assert check_of(place, head)["status"] == "in_progress"
    go.touch()
    ran = act.run("gate.yml", "pull_request", payload)
    assert (ran.code, check_of(place, head)["conclusion"]) == (0, "success"), ran.log
    assert len(list(place.home.glob("local/nel-*-*"))) == 1


@pytest.mark.parametrize("workflow", ["slurm", "lepton"])
def test_submit_leaves_and_collect_concludes(act: Act, tmp_path: Path, workflow: str) -> None:
    on_a_machine_that_stays(act)
    go = tmp_path / "go"
    place = repository(act, f"{workflow}.yaml", until=str(go))
    head = place.git("rev-parse", "HEAD")
    ran = act.run(f"{workflow}.yml", "pull_request", labelled(place, head, head))
    assert (ran.code, check_of(place, head)["status"]) == (0, "in_progress"), ran.log
    go.touch()
    wait_for(place, "local/nel-*/artifacts/scores.json")
    (place.home / "ledger.db").unlink()
    time.sleep(0.5)
    dispatch = ("repository_dispatch", {"action": "nel-action-collect", "client_payload": {"sha": head}})
    ran = act.run("collect.yml", *(dispatch if workflow == "slurm" else ("schedule", {"schedule": "7,27,47 * * * *"})))
    assert (ran.code, check_of(place, head)["conclusion"]) == (0, "success"), ran.log
    assert len(place.hub.store.comments_of(2)) == 1


SERVED = {
    "type": "generic",
    "command": [sys.executable, "-m", "http.server", "{port}", "--bind", "{host}"],
    "served_model_name": "tiny",
    "port": 0,
    "endpoints": {"health": "/"},
}
"""A server that stands for a model: the benchmark of these tests asks it nothing."""


def checkpoint(folder: Path, name: str, weights: bytes, *, whole: bool = True) -> None:
    (folder / name / "shards").mkdir(parents=True, exist_ok=True)
    (folder / name / "shards" / "weights 1.bin").write_bytes(weights)
    if whole:
        (folder / name / "config.json").write_text("{}")


def test_each_checkpoint_is_evaluated_once(act: Act, tmp_path: Path) -> None:
    on_a_machine_that_stays(act)
    place, models = act.place, tmp_path / "models"
    place.write_spec({"arith": {"value": 0.8}}, FLOOR, deployment=SERVED)
    (place.work / "evals/gate.yaml").rename(place.work / "evals/checkpoint.yaml")
    place.commit("base")
    checkpoint(models, "step-1", b"1" * 3_000_000)
    checkpoint(models, "step-2", b"2" * 3_000_000, whole=False)
    with Sshd(getpass.getuser()) as sshd:
        reach = {"HOST": f"{getpass.getuser()}@127.0.0.1", "PORT": sshd.port, "FOLDER": models}
        options = [word for name, value in reach.items() for word in ("--var", f"CHECKPOINT_{name}={value}")]
        options += ["--var", f"SLURM_KNOWN_HOSTS={sshd.known_hosts.strip()}"]
        secrets = {"SLURM_SSH_KEY": sshd.key.read_text()}

        def watch(event: str = "schedule", payload: dict[str, Any] | None = None) -> list[str]:
            """Run the workflow as GitHub would, and return the markers that it left anew."""
            shutil.rmtree(act.artifacts, ignore_errors=True)
            given = payload or {"schedule": "11,41 * * * *"}
            ran = act.run("checkpoint.yml", event, given, secrets=secrets, options=options)
            assert ran.code == 0, ran.log
            assert sshd.key.read_text().splitlines()[1] not in ran.log
            return sorted(path.name for path in act.artifacts.glob("checkpoint-*"))

        (first,) = watch()
        digest = first.removeprefix("checkpoint-")
        told = json.loads((act.artifacts / first / "checkpoint.json").read_text())
        assert told == {"digest": digest, "short": digest[:12], "path": f"{models}/step-1"}
        check = check_of(place, place.git("rev-parse", "HEAD"))
        assert check["name"] == f"Checkpoint {digest[:12]}"
        place.hub.store.add_artifact(4242, first, b"")

        assert watch() == []
        event = {"action": "nel-action-checkpoint", "client_payload": {"path": "/elsewhere/step-1", "digest": digest}}
        assert watch("repository_dispatch", event) == []
        (models / "step-1").rename(models / "renamed")
        checkpoint(models, "step-2", b"2" * 3_000_000)
        (second,) = watch()
        assert second != first
    wait_for(place, "local/nel-*/artifacts/scores.json")
    assert len(list(place.home.glob("local/nel-*-*"))) == 2


def test_nightly_keeps_history(act: Act) -> None:
    place = repository(act, "nightly.yaml")
    ran = act.run("nightly.yml", "schedule", {"schedule": "23 3 * * *"})
    assert ran.code == 0, ran.log
    assert "nel-action-nightly-benchmarks.jsonl" in place.hub.store.read_branch("nel-action-data")


def test_a_fork_is_measured_without_rights_and_judged_without_trust(act: Act) -> None:
    place = repository(act, "fork.yaml")
    base = place.git("rev-parse", "HEAD")
    place.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.0}}})
    (place.work / "evals/gate.yaml").rename(place.work / "evals/fork.yaml")
    head = place.commit("head")
    whole = place.hub.tokens[place.hub.token]
    place.hub.tokens[place.hub.token] = Identity(rights={"contents": "read"})
    ran = act.run("fork-measure.yml", "pull_request", place.pull_request(head, base, fork=True))
    assert ran.code == 0, ran.log
    assert [seen for seen in place.hub.seen if seen.method != "GET"] == []

    place.hub.tokens[place.hub.token] = whole
    place.hub.store.add_artifact(42, "nel-action-benchmark-gate", zipped(act.artifacts / "nel-action-benchmark-gate"))
    place.git("checkout", "-q", base)
    payload = example("workflow_run.completed")
    fork = {"full_name": "mallory/Hello-World"}
    told = {"id": 42, "head_sha": head, "head_branch": "change", "head_repository": fork, "event": "pull_request"}
    payload["workflow_run"] |= told
    ran = act.run("fork-gate.yml", "workflow_run", payload)
    assert (ran.code, check_of(place, head)["conclusion"]) == (0, "failure"), ran.log
    (comment,) = place.hub.store.comments_of(2)
    assert "fork's own code" in comment["body"]


def zipped(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return out.getvalue()


def test_every_workflow_is_run_here() -> None:
    text = Path(__file__).read_text()
    for path in (ROOT / "workflows").glob("*.yml"):
        assert f'"{path.name}"' in text or f'"{path.stem}"' in text, path.name
