from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.mlflow_server import mlflow_server, server_command
from tests.support.project import Project
from tests.support.require import require
from tests.support.runs import make_run

from nel_action.errors import NelActionError
from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.interface import Change, ExportOutcome
from nel_action.exporters.mlflow.baseline import fetch
from nel_action.exporters.service import export_bundles
from nel_action.model.results import Sample, read_results, read_samples, write_results, write_samples
from nel_action.report.store import load_report

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytest.importorskip("mlflow", reason="needs the mlflow extra")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.mlflow,
    pytest.mark.xdist_group("mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]


SAMPLES = """
right = 30 if os.environ["NEL_MODEL_ID"] == "tiny" else 0
lines = [json.dumps({"id": str(n), "scores": {"accuracy": float(n < right)}, "output": "x"}) for n in range(40)]
pathlib.Path(os.environ["NEL_OUTPUT_DIR"], "samples.jsonl").write_text("".join(line + chr(10) for line in lines))
score = {"value": right / 40, "stderr": 0.07, "n": 40, "higher_is_better": True}
data = {"scores": {"accuracy": score}, "n_items": 40, "n_expected": 40}
pathlib.Path(os.environ["NEL_OUTPUT_DIR"], "scores.json").write_text(json.dumps(data))
"""


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = server_command()
    require("mlflow", command is not None, "no MLflow server; set NEL_ACTION_TEST_MLFLOW to an installed one")
    assert command is not None
    with mlflow_server(command, tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_run(tmp_path / "runs"))


def export(bundle: Bundle, uri: str, experiment: str, **options: Any) -> ExportOutcome:  # noqa: ANN401 - of a spec
    settings = {"tracking_uri": uri, "experiment_name": experiment, **options}
    return export_bundles([bundle], "mlflow", settings, {}, sleep=lambda _seconds: None)


def runs(client: MlflowClient, experiment: str) -> dict[str, Any]:
    stored = client.get_experiment_by_name(experiment)
    assert stored is not None
    return {run.info.run_name: run for run in client.search_runs([stored.experiment_id])}


def contents(client: MlflowClient, experiment: str) -> dict[str, Any]:
    return {name: (run.data.to_dictionary(), run.info.end_time) for name, run in runs(client, experiment).items()}


def changes(outcome: ExportOutcome) -> list[Change]:
    assert outcome.complete, [item.problem for item in outcome.items]
    return [item.change for item in outcome.items]


def with_score(bundle: Bundle, value: float) -> Bundle:
    tasks = list(bundle.results.tasks)
    score = tasks[2].scores[0].model_copy(update={"value": value})
    tasks[2] = tasks[2].model_copy(update={"scores": (score,)})
    return replace(bundle, results=bundle.results.model_copy(update={"tasks": tuple(tasks)}))


def test_each_job_is_a_child_of_the_run_of_its_invocation(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    assert changes(export(bundle, uri, "complete", tags={"team": "evals"})) == [Change.CREATED] * 6
    stored = runs(client, "complete")
    parent, child = stored["invocation 4f1c9a2000000000"], stored["gsm8k · acme-7b"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.metrics["gsm8k/exact_match"] == 0.741
    assert child.data.metrics["gsm8k/exact_match_stderr"] == 0.019
    assert child.data.metrics["gsm8k/exact_match_n"] == 541
    assert child.data.params == {"temperature": "0.0", "limit_samples": "541"}
    assert {"team", "commit", "verdict", "harness_version"} <= set(child.data.tags)
    assert parent.data.tags["gate"] == "fail"
    assert (child.info.status, stored["mmlu · acme-7b"].info.status) == ("FINISHED", "FAILED")
    assert [file.path for file in client.list_artifacts(child.info.run_id, "artifacts")] == ["artifacts/results.yml"]


def test_second_export_changes_nothing(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    export(bundle, uri, "twice", trend=True)
    before = contents(client, "twice")
    assert set(changes(export(bundle, uri, "twice", trend=True))) == {Change.UNCHANGED}
    assert {
        name: (run.data.to_dictionary(), run.info.end_time) for name, run in runs(client, "twice").items()
    } == before


def test_changed_results_update_the_same_run(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    export(bundle, uri, "changed")
    for value in (0.9, 0.1):
        outcome = export(with_score(bundle, value), uri, "changed")
        assert changes(outcome).count(Change.UPDATED) == 1
        stored = runs(client, "changed")
        assert len(stored) == 6
        assert stored["gsm8k · acme-7b"].data.metrics["gsm8k/exact_match"] == value


def test_skip_existing_does_not_update_runs(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    export(bundle, uri, "skipped")
    assert set(changes(export(with_score(bundle, 0.1), uri, "skipped", skip_existing=True))) == {Change.UNCHANGED}
    assert runs(client, "skipped")["gsm8k · acme-7b"].data.metrics["gsm8k/exact_match"] == 0.741


def test_interrupted_export_is_completed(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    export(bundle, uri, "half", copy_artifacts=False)
    child = runs(client, "half")["gsm8k · acme-7b"]
    client.delete_tag(child.info.run_id, "nel_action.digest")
    client.delete_tag(child.info.run_id, "verdict")
    assert changes(export(bundle, uri, "half", copy_artifacts=False)).count(Change.UPDATED) == 1
    assert runs(client, "half")["gsm8k · acme-7b"].data.tags["verdict"] == "fail"


def test_trend_has_one_step_per_day(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    tomorrow = bundle.results.model_copy(
        update={
            "created": "2026-11-23T10:33:00Z",
            "invocation": "ffff000000000000",
            "tasks": tuple(
                task.model_copy(update={"job_id": f"f.{n}", "ended": "2026-11-23T10:33:00Z"})
                for n, task in enumerate(with_score(bundle, 0.5).results.tasks)
            ),
        }
    )
    export(bundle, uri, "nightly", trend=True)
    export(replace(bundle, results=tomorrow), uri, "nightly", trend=True)
    trend = runs(client, "nightly")["trend · acme-7b"]
    points = client.get_metric_history(trend.info.run_id, "gsm8k/exact_match")
    assert [(point.step - points[0].step, point.value) for point in points] == [(0, 0.741), (1, 0.5)]


def test_forbidden_characters_are_replaced_and_names_stay_different(
    bundle: Bundle, uri: str, client: MlflowClient
) -> None:
    task = bundle.results.tasks[0]
    score = task.scores[0]
    names = ("exact_match,strict", "exact_match,flexible=x", "exact_match=flexible,x")
    scores = tuple(score.model_copy(update={"metric": name, "value": 0.1 * n}) for n, name in enumerate(names, 1))
    results = bundle.results.model_copy(update={"tasks": (task.model_copy(update={"scores": scores}),)})
    assert export(replace(bundle, results=results), uri, "names").complete
    metrics = runs(client, "names")["arc · acme-7b"].data.metrics
    assert len({name for name in metrics if name.endswith("_n") or "_n_" in name}) == 3
    assert {0.1, 0.2, 0.30000000000000004} <= set(metrics.values())


def test_spec_is_logged_as_parameters_to_the_depth(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    (bundle.run_dir / "spec.yaml").write_text("target: {api_endpoint: {model_id: m}}\n")
    export(bundle, uri, "spec", log_config_params=True, log_config_params_max_depth=2, extra_metadata={"a": 1})
    parent = runs(client, "spec")["invocation 4f1c9a2000000000"]
    assert parent.data.params == {"target.api_endpoint": "{'model_id': 'm'}", "a": "1"}


def test_metric_and_file_patterns(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    outcome = export(
        bundle, uri, "filters", log_metrics=["gsm8k.*"], only_required=False, exclude_patterns=["*.bin"], copy_logs=True
    )
    assert outcome.complete
    stored = runs(client, "filters")
    assert "arc/exact_match" not in stored["arc · acme-7b"].data.metrics
    child = stored["gsm8k · acme-7b"].info.run_id
    assert [file.path for file in client.list_artifacts(child)] == ["artifacts", "logs"]
    assert [file.path for file in client.list_artifacts(child, "artifacts")] == ["artifacts/results.yml"]


def test_deleted_experiment_is_reported(bundle: Bundle, uri: str, client: MlflowClient) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    outcome = export(bundle, uri, "gone")
    assert not outcome.complete
    assert "was deleted" in str(outcome.items[0].problem)


def test_unavailable_server_is_reported_for_each_run(bundle: Bundle) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = export(bundle, f"http://127.0.0.1:{taken.getsockname()[1]}", "x")
    assert [item.change for item in outcome.items] == [Change.FAILED] * 6
    assert "does not respond" in str(outcome.items[0].problem)


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "no MLflow server"), ({"tracking_uri": "http://u:secret@e.example"}, "contains credentials")],
)
def test_invalid_options_are_reported_before_any_request(bundle: Bundle, options: dict[str, str], message: str) -> None:
    with pytest.raises(NelActionError, match=message) as caught:
        export_bundles([bundle], "mlflow", options, {})
    assert "secret" not in str(caught.value)


def test_exported_run_is_fetched_with_its_samples(
    bundle: Bundle, uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    task = bundle.results.tasks[2].model_copy(update={"samples": "samples/gsm8k.jsonl.gz"})
    results = bundle.results.model_copy(update={"tasks": (task,)})
    write_results(results, bundle.run_dir / "results.json")
    write_samples([Sample(id="a", scores={"exact_match": 1})], bundle.run_dir / str(task.samples))
    assert export(replace(bundle, results=results), uri, "baseline", samples=True).complete
    for run in runs(client, "baseline").values():
        folder = fetch(run.info.run_id, tmp_path / "home", {"MLFLOW_TRACKING_URI": uri})
        assert folder is not None
        assert read_results(folder / "results.json") == results
        assert [sample.id for sample in read_samples(folder / str(task.samples))] == ["a"]


def test_gate_compares_with_an_exported_run_item_by_item(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    project = Project(tmp_path / "p", tasks=("alpha",))
    program = project.folder / "own" / "program.py"
    program.write_text(program.read_text().replace("sys.exit(code)", SAMPLES))
    settings = ["-o", "+execution.auto_export.destinations=[mlflow]", "-o", "+export.mlflow.experiment_name=gate"]
    first = project.run("--wait", *settings, "-o", "+export.mlflow.samples=true", timeout=240)
    assert (first.returncode, "exported to mlflow" in first.stderr) == (0, True), first.stderr
    parent = next(run for name, run in runs(client, "gate").items() if name.startswith("invocation"))
    project.extra = f"gate: {{baseline: 'mlflow:{parent.info.run_id}', tasks: {{alpha: {{max_drop: 0.1}}}}}}"
    project.write_spec()
    second = project.run("--wait", "-o", "target.api_endpoint.model_id=worse", timeout=240)
    assert second.returncode == 1, second.stdout + second.stderr
    compared = load_report(project.runs[-1]).gate.tasks[0].comparison
    assert compared is not None
    assert (compared.n_paired, compared.n_worse, compared.n_better) == (40, 30, 0)
    assert "Baseline" in (project.runs[-1] / "report.html").read_text()


def test_missing_run_is_reported(uri: str, tmp_path: Path) -> None:
    with pytest.raises(NelActionError, match="rejected the request"):
        fetch("0" * 32, tmp_path, {"MLFLOW_TRACKING_URI": uri})
