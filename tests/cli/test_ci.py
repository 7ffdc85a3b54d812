"""`nel-action ci`: what a mistake of ours ends with, and which extras a spec needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.doubles.github.server import github
from tests.support.workplace import outputs_of

from nel_action.cli.ci import ci
from nel_action.github import evaluate as evaluating

SPEC = """\
execution: {type: slurm, hostname: login, account: a, output_dir: /tmp/x}
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation: {tasks: [{name: ifeval}]}
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GITHUB_EVENT_PATH", "GITHUB_SHA", "INPUT_CONFIG_NAME", "INPUT_MODE"):
        monkeypatch.delenv(name, raising=False)
    said = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "Codertocat/Hello-World",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_SHA": "a" * 40,
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "RUNNER_TEMP": str(tmp_path),
        "NEL_ACTION_HOME": str(tmp_path / "home"),
        "INPUT_SPEC": str(tmp_path / "spec.yaml"),
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def test_a_mistake_of_ours_is_unmeasurable_and_told_in_the_check(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_setting: object) -> None:
        msg = "::error::no such thing"
        raise TypeError(msg)

    monkeypatch.setattr(evaluating, "evaluate", broken)
    with github() as hub:
        for name, value in (hub.environ() | {"INPUT_GITHUB_TOKEN": hub.token}).items():
            monkeypatch.setenv(name, value)
        ran = CliRunner().invoke(ci, ["run"], standalone_mode=False)
        assert ran.return_value == 3
        said = ran.output.partition("::stop-commands::")[2]
        assert "TypeError" in said, "what happened is in the log, where it commands nothing"
        CliRunner().invoke(ci, ["finish"], standalone_mode=False)
        (check,) = hub.store.checks_of("a" * 40)
    assert check["conclusion"] == "failure"
    outputs = outputs_of(job / "outputs")
    assert (outputs["exit-code"], outputs["state"], outputs["verdict"]) == ("3", "error", "none")
    assert "TypeError" in outputs["summary"]


@pytest.mark.parametrize(
    ("text", "exporters", "expected"),
    [
        (SPEC, "", ["slurm"]),
        (SPEC + "export: {wandb: {entity: e, project: p}}\n", "", ["slurm", "wandb"]),
        (SPEC + "export: {wandb: {entity: e, project: p}}\n", "none", ["slurm"]),
        (SPEC, "mlflow gsheets", ["gsheets", "mlflow", "slurm"]),
        ("execution: {type: local, runtime: process}\n" + SPEC.partition("\n")[2], "", ["process"]),
        ("execution: {type: local}\n" + SPEC.partition("\n")[2], "", []),
        ("this is: [no spec", "", []),
    ],
)
def test_only_the_extras_that_the_spec_needs(
    job: Path, monkeypatch: pytest.MonkeyPatch, text: str, exporters: str, expected: list[str]
) -> None:
    (job / "spec.yaml").write_text(text)
    monkeypatch.setenv("INPUT_EXPORTERS", exporters)
    ran = CliRunner().invoke(ci, ["extras"], standalone_mode=False)
    assert ran.output.split() == expected
