from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.support import reports
from tests.support.runs import make_run

from nel_action.errors import NelActionError
from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.interface import Change, ExportOutcome
from nel_action.exporters.service import export_bundles
from nel_action.gating.external import open_run
from nel_action.model.results import JobOutcome, Score

FORMATS = ["json", "csv", "junit", "parquet", "every_eval_ever"]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_run(tmp_path / "runs"))


def export(bundle: Bundle, out: Path, **options: Any) -> ExportOutcome:  # noqa: ANN401 - options of a spec
    if options.get("format") == "parquet":
        pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    return export_bundles([bundle], "local", {"output_dir": str(out), **options}, {})


def with_score(bundle: Bundle, value: float, index: int = 0) -> Bundle:
    tasks = list(bundle.results.tasks)
    score = tasks[index].scores[0].model_copy(update={"value": value})
    tasks[index] = tasks[index].model_copy(update={"scores": (score,), "seconds": 131.0})
    results = bundle.results.model_copy(update={"tasks": tuple(tasks)})
    return Bundle(results=results, run_dir=bundle.run_dir, gate=bundle.gate, job_dirs=bundle.job_dirs)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def changes(outcome: ExportOutcome) -> set[Change]:
    return {item.change for item in outcome.items}


@pytest.mark.parametrize("kind", FORMATS)
def test_second_export_changes_no_byte(bundle: Bundle, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    assert changes(export(bundle, out, format=kind)) == {Change.CREATED}
    first = files(out)
    assert changes(export(bundle, out, format=kind)) == {Change.UNCHANGED}
    assert files(out) == first


@pytest.mark.parametrize("kind", FORMATS)
def test_changed_results_are_updated_in_place(bundle: Bundle, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    export(bundle, out, format=kind, copy_artifacts=False)
    outcome = export(with_score(bundle, 0.25), out, format=kind, copy_artifacts=False)
    assert Change.UPDATED in changes(outcome)
    again = tmp_path / "again"
    export(with_score(bundle, 0.25), again, format=kind, copy_artifacts=False)
    assert files(out) == files(again)


def test_json_has_standard_error_count_and_provenance(bundle: Bundle, tmp_path: Path) -> None:
    export(bundle, tmp_path, output_filename="mine.json")
    data = json.loads((tmp_path / "mine.json").read_text())
    (entry,) = data["benchmarks"]["gsm8k"]["models"]["acme-7b"]
    assert entry["scores"] == {"exact_match": 0.741, "exact_match_stderr": 0.019, "exact_match_n": 541}
    assert entry["commit"] == "a1b2c3d"
    assert entry["verdict"] == "fail"
    assert entry["gate"]["comparison"]["n_worse"] == 29


def test_csv_and_junit_have_the_provenance(bundle: Bundle, tmp_path: Path) -> None:
    for kind in ("csv", "junit"):
        export(bundle, tmp_path, format=kind)
    with (tmp_path / "processed_results.csv").open(newline="") as lines:
        row = next(row for row in csv.DictReader(lines) if row["task"] == "gsm8k")
    assert json.loads(row["params"]) == {"limit_samples": 541, "temperature": 0.0}
    assert (row["spec_digest"], row["gate"], row["tool_version"]) == ("0" * 64, "fail", "0.1.0")
    assert "https://ci.example/run/1" in row["links"]
    suite = ET.fromstring((tmp_path / "junit-4f1c9a2000000000.xml").read_bytes())[0]  # noqa: S314 - our own text
    properties = {item.get("name"): item.get("value") for item in suite.iterfind("properties/property")}
    assert (properties["commit"], properties["link: Full report"]) == ("a1b2c3d", "https://ci.example/run/1")
    path = "testcase[@name='gsm8k']/properties/property"
    case = {item.get("name"): item.get("value") for item in suite.iterfind(path)}
    assert (case["harness version"], case["stderr"], case["items"]) == ("0.4.9", "0.019", "541")


def test_second_invocation_is_added_to_the_file(bundle: Bundle, tmp_path: Path) -> None:
    other = bundle.results.model_copy(
        update={
            "invocation": "ffff000000000000",
            "tasks": tuple(
                task.model_copy(update={"job_id": f"ffff000000000000.{index}"})
                for index, task in enumerate(bundle.results.tasks)
            ),
        }
    )
    for kind in ("json", "csv"):
        export(bundle, tmp_path, format=kind)
        export(Bundle(results=other, run_dir=bundle.run_dir), tmp_path, format=kind)
    data = json.loads((tmp_path / "processed_results.json").read_text())
    assert len(data["benchmarks"]["gsm8k"]["models"]["acme-7b"]) == 2
    with (tmp_path / "processed_results.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 10


def test_log_metrics_filters_the_file(bundle: Bundle, tmp_path: Path) -> None:
    scores = (Score(metric="prompt_level", value=0.5), Score(metric="inst_level", value=0.6))
    first = bundle.results.tasks[0].model_copy(update={"scores": scores})
    results = bundle.results.model_copy(update={"tasks": (first,)})
    narrowed = Bundle(results=results, run_dir=bundle.run_dir)
    for kind in ("json", "csv"):
        export(narrowed, tmp_path, format=kind, log_metrics=["prompt_level"])
        text = (tmp_path / f"processed_results.{kind}").read_text()
        assert "prompt_level" in text
        assert "inst_level" not in text


def test_added_columns_are_kept(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "processed_results.csv"
    export(bundle, tmp_path, format="csv")
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows[0]["note"] = "reviewed"
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    export(with_score(bundle, 0.25), tmp_path, format="csv")
    with path.open(newline="") as lines:
        first = next(csv.DictReader(lines))
    assert (first["note"], first["value"]) == ("reviewed", "0.25")


@pytest.mark.parametrize(
    ("kind", "text"), [("json", "[1, 2]"), ("json", "{"), ("csv", "a,b\n1,2\n"), ("parquet", "no parquet")]
)
def test_other_files_are_rejected_and_not_changed(bundle: Bundle, tmp_path: Path, kind: str, text: str) -> None:
    path = tmp_path / f"processed_results.{kind}"
    path.write_text(text)
    outcome = export(bundle, tmp_path, format=kind)
    assert not outcome.complete
    assert "is not a file of exported results" in str(outcome.items[0].problem)
    assert path.read_text() == text


def test_unwritable_folder_is_reported(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = export(bundle, tmp_path / "file" / "out")
    assert "cannot write" in str(outcome.items[0].problem)


def test_formulas_in_names_are_text(tmp_path: Path) -> None:
    evil = reports.result("=HYPERLINK(1)").model_copy(update={"model": "@SUM(1)", "job_id": "aa.0"})
    results = reports.passed().results.model_copy(update={"tasks": (evil,)})
    export(Bundle(results=results, run_dir=tmp_path), tmp_path, format="csv")
    with (tmp_path / "processed_results.csv").open(newline="") as lines:
        row = next(csv.DictReader(lines))
    assert (row["task"], row["model"]) == ("'=HYPERLINK(1)", "'@SUM(1)")


def test_artifacts_and_logs_are_optional(bundle: Bundle, tmp_path: Path) -> None:
    job = bundle.results.tasks[0].job_id
    export(bundle, tmp_path / "all", only_required=False, copy_logs=True)
    export(bundle, tmp_path / "none", copy_artifacts=False)
    assert (tmp_path / "all" / job / "artifacts" / "cache" / "big.bin").exists()
    assert (tmp_path / "all" / job / "logs" / "client.log").exists()
    assert not (tmp_path / "none" / job).exists()


def test_junit_has_one_file_per_invocation(bundle: Bundle, tmp_path: Path) -> None:
    export(bundle, tmp_path, format="junit")
    suite = ET.fromstring((tmp_path / "junit-4f1c9a2000000000.xml").read_bytes())[0]  # noqa: S314 - our own text
    assert suite.get("failures") == "1"


def test_job_without_results_is_exported_without_scores(bundle: Bundle, tmp_path: Path) -> None:
    export(bundle, tmp_path)
    data = json.loads((tmp_path / "processed_results.json").read_text())
    (entry,) = data["benchmarks"]["mmlu"]["models"]["acme-7b"]
    assert (entry["outcome"], entry["scores"]) == (JobOutcome.FAILED.value, {})


def test_records_of_every_eval_ever_are_read_back_by_the_gate(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(bundle, out, format="every_eval_ever", copy_artifacts=False)
    expected = {
        (task.task, score.metric): (score.value, score.stderr, score.n, score.higher_is_better)
        for task in bundle.results.tasks
        for score in task.scores
        if score.higher_is_better is not None
    }
    read = {
        (task.task, score.metric): (score.value, score.stderr, score.n, score.higher_is_better)
        for task in open_run(out).results.tasks
        for score in task.scores
    }
    assert read == expected
    assert read
    assert all(path.startswith("data/") for path in files(out))


def test_score_of_unknown_direction_is_left_out_of_records_of_every_eval_ever(bundle: Bundle, tmp_path: Path) -> None:
    tasks = tuple(
        task.model_copy(
            update={"scores": tuple(score.model_copy(update={"higher_is_better": None}) for score in task.scores)}
        )
        for task in bundle.results.tasks
    )
    results = bundle.results.model_copy(update={"tasks": tasks})
    unknown = Bundle(results=results, run_dir=bundle.run_dir, job_dirs=bundle.job_dirs)
    out = tmp_path / "out"
    assert export(unknown, out, format="every_eval_ever", copy_artifacts=False).items == ()
    assert files(out) == {}


def test_file_name_is_rejected_for_records_of_every_eval_ever(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(NelActionError, match="output_filename has no effect"):
        export(bundle, tmp_path, format="every_eval_ever", output_filename="x.json")
