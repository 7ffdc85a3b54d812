from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.project import Project

from nel_action.errors import Problem, SpecError
from nel_action.exporters.preflight import check_exports
from nel_action.spec.compose import load_spec

SPEC = """\
target: {api_endpoint: {url: "http://127.0.0.1:9/v1/chat/completions", model_id: tiny}}
execution: {type: local, auto_export: {destinations: [local]}}
evaluation: {tasks: [{name: ifeval}]}
"""


def check(folder: Path, extra: str, *, spec: str = SPEC, destinations: list[str] | None = None) -> tuple[Problem, ...]:
    path = folder / "spec.yaml"
    path.write_text(spec + extra)
    return check_exports(load_spec(path), {}, destinations=destinations)


def test_valid_options_give_no_warnings(tmp_path: Path) -> None:
    assert check(tmp_path, "export: {local: {output_dir: out, format: csv}}\n") == ()
    assert check(tmp_path, "") == ()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("export:\n  local:\n    frmat: csv\n", "spec.yaml:6:5: unknown key 'frmat'"),
        ("export:\n  local:\n    format: cvs\n", "did you mean 'csv'"),
        ("export:\n  mlflow: {samples: perhaps}\n", "spec.yaml:5:12: export.mlflow.samples must be true or false"),
        ("export:\n  wnadb: {project: x}\n", "spec.yaml:5:3: no exporter 'wnadb'"),
    ],
)
def test_invalid_options_are_reported_with_their_lines(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        check(tmp_path, extra)
    assert any(message in str(problem) for problem in caught.value.problems), caught.value.problems


COMMON = "copy_logs: true, copy_artifacts: false, only_required: false, log_metrics: [acc], job_dirs: null"
LAUNCHER = {
    "local": "output_dir: o, output_filename: x.json, format: json",
    "wandb": "entity: e, project: p, log_mode: multi_task, name: n, group: g, job_type: j, tags: [t], description: d,"
    " extra_metadata: {a: 1}, run_id: r, log_logs: true",
    "mlflow": "tracking_uri: http://127.0.0.1:9, experiment_name: e, log_config_params: true,"
    " log_config_params_max_depth: 3, skip_existing: true, run_name: r, description: d, tags: {a: b},"
    " extra_metadata: {a: [1]}, exclude_patterns: ['*.bin'], log_artifacts: null",
    "gsheets": "service_account_file: s.json, oauth_file: o.json, spreadsheet_id: i, spreadsheet_name: n",
}
"""Every key of each of NeMo Evaluator Launcher 0.2.6's export groups."""


@pytest.mark.parametrize("name", LAUNCHER)
def test_every_key_of_the_launcher_is_accepted(tmp_path: Path, name: str) -> None:
    assert check(tmp_path, f"export: {{{name}: {{{LAUNCHER[name]}, {COMMON}}}}}\n") == ()


def test_unknown_destination_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no exporter 'pigeon'"):
        check(tmp_path, "", spec=SPEC.replace("[local]", "[pigeon]"))


def test_section_of_a_missing_plug_in_is_a_warning(tmp_path: Path) -> None:
    (warning,) = check(tmp_path, "export: {jet: {anything: 1}}\n")
    assert "no exporter 'jet'" in warning.message


def test_missing_server_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs the mlflow extra")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    extra = "export: {mlflow: {experiment_name: x}}\n"
    assert check(tmp_path, extra) == ()
    (warning,) = check(tmp_path, extra, destinations=["mlflow"])
    assert "export to mlflow: no MLflow server" in warning.message


def test_invalid_options_stop_a_run_before_it_starts(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", tasks=("alpha",), extra="export: {local: {frmat: csv}}")
    done = project.run("--wait")
    assert done.returncode == 2
    assert "did you mean 'format'" in done.stderr
    assert "spec.yaml:7:18" in done.stderr
    assert (project.runs, project.ran) == ([], [])
