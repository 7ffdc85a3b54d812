from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support import reports
from tests.support.runs import make_run

from nel_action.cli.export import export
from nel_action.errors import NelActionError
from nel_action.ledger import InvocationRow, Ledger


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEL_ACTION_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments], standalone_mode=False)


def test_export_takes_a_directory_and_options(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    done = call(
        run, "--dest", "local", "-o", f"export.local.output_dir={tmp_path / 'o'}", "--output-filename", "x.json"
    )
    assert (done.return_value, done.exception) == (0, None)
    assert "created" in done.output
    assert json.loads((tmp_path / "o" / "x.json").read_text())["benchmarks"]["gsm8k"]


def test_ids_are_found_in_job_dirs(tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    done = call("4f1c", "--dest", "local", "--job-dirs", tmp_path / "runs", "--output-dir", tmp_path / "o")
    assert done.return_value == 0
    assert (tmp_path / "o" / "processed_results.json").exists()


@pytest.mark.parametrize("subfolder", ["", "..", "../..", "gsm8k", "gsm8k/artifacts"])
def test_copied_directories_are_found_by_the_id_in_their_results(tmp_path: Path, subfolder: str) -> None:
    run = make_run(tmp_path / "runs").rename(tmp_path / "runs" / "downloaded")
    done = call("4f1c", "--dest", "local", "--job-dirs", run / subfolder, "--output-dir", tmp_path / "o")
    assert (done.return_value, done.exception) == (0, None)
    assert (tmp_path / "o" / "processed_results.json").exists()


def test_job_dirs_without_ids_exports_all_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    done = call("--dest", "local", "--job-dirs", tmp_path / "runs", "--output-dir", tmp_path / "o")
    assert done.return_value == 0


def test_options_are_read_from_the_spec_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    spec = {"export": {"local": {"output_dir": str(tmp_path / "o"), "format": "csv"}}}
    (run / "spec.yaml").write_text(json.dumps(spec))
    assert call(run, "--dest", "local").return_value == 0
    assert (tmp_path / "o" / "processed_results.csv").exists()


def test_tilde_removes_an_option_of_the_spec(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    spec = {"export": {"local": {"output_dir": str(tmp_path / "o"), "output_filename": "x.json"}}}
    (run / "spec.yaml").write_text(json.dumps(spec))
    assert call(run, "--dest", "local", "-o", "~export.local.output_filename").return_value == 0
    assert (tmp_path / "o" / "processed_results.json").exists()


def test_config_file_with_and_without_export_section(tmp_path: Path) -> None:
    run, file = make_run(tmp_path / "runs"), tmp_path / "export.yaml"
    for folder, head in (("a", {"export": {"local": {"output_dir": str(tmp_path / "a")}}}), ("b", {})):
        file.write_text(json.dumps(head or {"output_dir": str(tmp_path / "b")}))
        assert call(run, "--dest", "local", "--config", file).return_value == 0
        assert (tmp_path / folder / "processed_results.json").exists()
    file.write_text(json.dumps({"output_dir": str(tmp_path / "b"), "job_dirs": None}))
    assert call(run, "--dest", "local", "--config", file).return_value == 0
    file.write_text('{"export": {"wandb": {}}}')
    done = call(run, "--dest", "local", "--config", file)
    assert isinstance(done.exception, NelActionError)
    assert "no export.local in" in str(done.exception)


def test_partial_failure_is_reported_and_exits_with_3(tmp_path: Path) -> None:
    good = make_run(tmp_path / "runs")
    other = reports.passed()
    bad = make_run(tmp_path / "other", other)
    (bad / "results.json").write_text("{")
    done = call(good, bad, "--dest", "local", "--output-dir", tmp_path / "o")
    assert done.return_value == 3
    assert "failed" in done.output
    assert "not valid JSON" in done.output
    assert (tmp_path / "o" / "processed_results.json").exists()


def test_export_changes_no_file_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    call(run, "--dest", "local", "--output-dir", tmp_path / "o")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dest", "local"], "no invocation given"),
        (["nope", "--dest", "local"], "nope"),
        (["--dest", "local", "--job-dirs", "nowhere"], "no run directory"),
        (["RUN", "--dest", "lokal"], "no exporter 'lokal'"),
        (["RUN", "--dest", "local", "-o", "export.local.frmat=csv"], "did you mean 'format'"),
        (["RUN", "--dest", "local", "-o", "local.format=csv"], "invalid override: -o local.format=csv"),
        (["RUN", "--dest", "local", "-o", "export.local.output_filename=../x"], "a name, not a path"),
    ],
)
def test_usage_errors_are_reported_with_exit_code_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    run = make_run(tmp_path / "runs")
    done = call(*(run if argument == "RUN" else argument for argument in arguments))
    assert isinstance(done.exception, NelActionError)
    assert done.exception.exit_code == 2
    assert message in str(done.exception)


def test_ids_are_found_in_the_ledger(tmp_path: Path, home: Path) -> None:
    run = make_run(tmp_path / "runs")
    ledger = Ledger(home)
    created = "2026-11-22T10:30:45Z"
    ledger.add(InvocationRow(id="4f1c9a2000000000", created=created, run_dir=run, spec="s.yaml", executor="local"))
    ledger.close()
    assert call("4f1c9a", "--dest", "local", "--output-dir", tmp_path / "o").return_value == 0
    assert (tmp_path / "o" / "processed_results.json").exists()


METRICS = {"strict", "loose"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--log-metrics", "strict"], {"strict"}),
        (["--log-metrics", "strict", "--log_metrics", "loose"], METRICS),
        (["--log-metrics", "strict", "loose"], METRICS),
        (["--log-metrics", "strict", "loose", "--dest", "local"], METRICS),
        (["--log-metrics", "strict", "loose", "4f1c"], METRICS),
        (["--log-metrics", "strict", "4f1c.0"], {"strict"}),
    ],
)
def test_log_metrics_takes_several_metrics(words: list[str], expected: set[str]) -> None:
    invocation = [] if any(word.startswith("4f1c") for word in words) else ["4f1c"]
    context = export.make_context("export", [*invocation, *words])
    assert set(context.params["log_metrics"]) == expected
    assert len(context.params["invocations"]) == 1


def test_log_metrics_leaves_directories_to_the_runs(tmp_path: Path) -> None:
    context = export.make_context("export", ["--log-metrics", "strict", str(tmp_path)])
    assert context.params["invocations"] == (str(tmp_path),)
    assert context.params["log_metrics"] == ("strict",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        (["--only-required"], True),
        (["--all-artifacts"], False),
        (["--only-required", "False"], False),
        (["--only_required", "true"], True),
        (["--only-required", "--copy-logs"], True),
    ],
)
def test_flags_take_a_truth_value(words: list[str], *, expected: bool | None) -> None:
    assert export.make_context("export", ["4f1c", *words]).params["only_required"] is expected
    assert export.make_context("export", ["4f1c", *words]).params["invocations"] == ("4f1c",)


def test_flags_take_no_other_word() -> None:
    assert export.make_context("export", ["--only-required", "4f1c"]).params["invocations"] == ("4f1c",)
    assert export.make_context("export", ["--", "--only-required", "False"]).params["only_required"] is None
