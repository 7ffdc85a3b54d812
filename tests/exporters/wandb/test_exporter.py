from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.wandb_backend import KEY, WandbBackend, wandb_backend
from tests.support.runs import make_run

from nel_action.errors import NelActionError
from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.interface import Change, ExportOutcome
from nel_action.exporters.service import export_bundles
from nel_action.exporters.wandb import session
from nel_action.model.results import Sample, write_samples

pytestmark = pytest.mark.slow

pytest.importorskip("wandb", reason="needs the wandb extra")


@pytest.fixture
def backend() -> Iterator[WandbBackend]:
    with wandb_backend() as running:
        yield running
        assert running.unknown == []


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_run(tmp_path / "runs"))


def export(bundle: Bundle, backend: WandbBackend, **options: Any) -> ExportOutcome:  # noqa: ANN401 - options of a spec
    environ = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": backend.url}
    return export_bundles([bundle], "wandb", options, environ, sleep=lambda _seconds: None)


def with_score(bundle: Bundle, value: float) -> Bundle:
    tasks = list(bundle.results.tasks)
    score = tasks[2].scores[0].model_copy(update={"value": value})
    tasks[2] = tasks[2].model_copy(update={"scores": (score,)})
    results = bundle.results.model_copy(update={"tasks": tuple(tasks)})
    return Bundle(results=results, run_dir=bundle.run_dir, gate=bundle.gate, job_dirs=bundle.job_dirs)


def one_task(bundle: Bundle) -> Bundle:
    results = bundle.results.model_copy(update={"tasks": (bundle.results.tasks[2],)})
    return Bundle(results=results, run_dir=bundle.run_dir, gate=bundle.gate, job_dirs=bundle.job_dirs)


def test_multi_task_mode_has_one_run_per_invocation(bundle: Bundle, backend: WandbBackend) -> None:
    outcome = export(bundle, backend, log_mode="multi_task", tags=["nightly"], copy_artifacts=False)
    assert [(item.change, item.problem) for item in outcome.items] == [(Change.CREATED, None)]
    (run,) = backend.runs.values()
    assert run.summary["gsm8k/exact_match"] == 0.741
    assert run.summary["gsm8k/exact_match_stderr"] == 0.019
    assert run.summary["gsm8k/exact_match_n"] == 541
    assert run.summary["gsm8k/verdict"] == "fail"
    assert run.values()["tasks"]["gsm8k"]["commit"] == "a1b2c3d"
    assert run.values()["tasks"]["gsm8k"]["params"] == {"temperature": 0.0, "limit_samples": 541}
    assert {"nightly", "gsm8k", "fail"} <= set(run.fields["tags"])
    assert run.fields["groupName"] == "4f1c9a2000000000"
    assert run.complete


def test_two_models_in_one_run_have_separate_scores(bundle: Bundle, backend: WandbBackend) -> None:
    first = bundle.results.tasks[2]
    score = first.scores[0].model_copy(update={"value": 0.5})
    second = first.model_copy(update={"model": "other", "job_id": "x.9", "scores": (score,)})
    results = bundle.results.model_copy(update={"tasks": (first, second)})
    both = Bundle(results=results, run_dir=bundle.run_dir, gate=bundle.gate)
    export(both, backend, log_mode="multi_task", copy_artifacts=False)
    (run,) = backend.runs.values()
    assert run.summary["gsm8k@acme-7b/exact_match"] == 0.741
    assert run.summary["gsm8k@other/exact_match"] == 0.5
    assert set(run.values()["tasks"]) == {"gsm8k@acme-7b", "gsm8k@other"}


def test_second_export_writes_nothing(bundle: Bundle, backend: WandbBackend) -> None:
    export(bundle, backend, log_mode="multi_task")
    before = len(backend.writes())
    outcome = export(bundle, backend, log_mode="multi_task")
    assert [item.change for item in outcome.items] == [Change.UNCHANGED]
    assert len(backend.writes()) == before


def test_changed_results_update_the_same_run(bundle: Bundle, backend: WandbBackend) -> None:
    export(one_task(bundle), backend)
    outcome = export(one_task(with_score(bundle, 0.5)), backend)
    assert [item.change for item in outcome.items] == [Change.UPDATED]
    (run,) = backend.runs.values()
    assert run.summary["gsm8k/exact_match"] == 0.5
    assert run.history == []


def test_no_data_of_the_machine_is_sent(bundle: Bundle, backend: WandbBackend) -> None:
    export(one_task(bundle), backend, copy_artifacts=False)
    (run,) = backend.runs.values()
    assert run.fields["program"] == "nel-action"
    assert set(backend.uploads) <= {"wandb-summary.json", "config.yaml"}


def test_files_and_samples_are_exported_on_request(bundle: Bundle, backend: WandbBackend) -> None:
    task = bundle.results.tasks[2].model_copy(update={"samples": "samples/gsm8k.jsonl.gz"})
    samples = [Sample(id=str(n), scores={"exact_match": n % 2}, input="q", output="a") for n in range(20)]
    write_samples(samples, bundle.run_dir / "samples" / "gsm8k.jsonl.gz")
    results = bundle.results.model_copy(update={"tasks": (task,)})
    chosen = Bundle(results=results, run_dir=bundle.run_dir, gate=bundle.gate, job_dirs=bundle.job_dirs)
    assert [item.change for item in export(chosen, backend, samples=5).items] == [Change.CREATED]
    assert [item.change for item in export(chosen, backend, samples=5).items] == [Change.UNCHANGED]
    assert all(artifact["state"] == "COMMITTED" for artifact in backend.artifacts.values())
    table = json.loads(backend.uploads["samples.table.json"])
    assert len(table["data"]) == 5
    assert any(name.endswith("artifacts/results.yml") for name in backend.uploads)
    assert not any("big.bin" in name for name in backend.uploads)
    write_samples(samples[:3], bundle.run_dir / "samples" / "gsm8k.jsonl.gz")
    assert [item.change for item in export(chosen, backend, samples=5).items] == [Change.UPDATED]
    assert len(json.loads(backend.uploads["samples.table.json"])["data"]) == 3


def test_log_metrics_filters_the_summary(bundle: Bundle, backend: WandbBackend) -> None:
    export(bundle, backend, log_mode="multi_task", log_metrics=["gsm8k.*"], copy_artifacts=False)
    (run,) = backend.runs.values()
    assert {name for name in run.summary if name.endswith("/exact_match")} == {"gsm8k/exact_match"}


def test_run_that_was_not_stored_is_reported(bundle: Bundle, backend: WandbBackend) -> None:
    backend.forgetful = True
    outcome = export(one_task(bundle), backend, copy_artifacts=False)
    assert not outcome.complete
    assert "has not stored" in str(outcome.items[0].problem)


@pytest.mark.parametrize(("status", "message"), [(401, "rejected the API key"), (500, "has not accepted the run")])
def test_rejected_requests_are_reported(
    bundle: Bundle, backend: WandbBackend, status: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_TIMEOUT", 2.0)
    backend.fail_with = status
    outcome = export(one_task(bundle), backend, copy_artifacts=False)
    assert not outcome.complete
    assert message in str(outcome.items[0].problem)
    assert KEY not in str(outcome.items[0].problem)


def test_missing_api_key_is_reported_before_any_request(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", "/nonexistent")
    with pytest.raises(NelActionError, match="WANDB_API_KEY is not set"):
        export_bundles([bundle], "wandb", {}, {})


def test_api_key_is_read_from_a_mounted_file(bundle: Bundle, backend: WandbBackend, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    environ = {"WANDB_API_KEY_FILE": str(tmp_path / "key"), "WANDB_BASE_URL": backend.url}
    assert export_bundles([one_task(bundle)], "wandb", {"copy_artifacts": False}, environ).complete


def test_run_id_for_several_tasks_is_rejected(bundle: Bundle, backend: WandbBackend) -> None:
    outcome = export(bundle, backend, run_id="mine")
    assert "names one run" in str(outcome.items[0].problem)
    assert backend.runs == {}


def offline(bundle: Bundle, out: Path, **options: Any) -> ExportOutcome:  # noqa: ANN401 - options of a spec
    settings = {"mode": "offline", "offline_dir": str(out), "log_mode": "multi_task", **options}
    return export_bundles([bundle], "wandb", settings, {})


def inspect(out: Path) -> dict[str, Any]:
    """Read an offline run with the tool of W&B."""
    (path,) = out.glob("wandb/offline-run-*/*.wandb")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json", str(path)]
    content: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    return content


def test_offline_run_is_readable_by_the_tool_of_wandb(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "offline"
    assert [item.change for item in offline(bundle, out).items] == [Change.CREATED]
    content = json.dumps(inspect(out))
    assert "gsm8k/exact_match" in content
    assert "0.741" in content


def test_offline_run_is_replaced_only_after_changes(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "offline"
    offline(bundle, out)
    assert [item.change for item in offline(bundle, out).items] == [Change.UNCHANGED]
    assert [item.change for item in offline(with_score(bundle, 0.5), out).items] == [Change.UPDATED]
    assert "0.5" in json.dumps(inspect(out))
