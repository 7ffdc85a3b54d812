"""`nel-action ci`: unexpected exceptions, debug logging, and the extras that a spec requires."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.doubles.github.server import github
from tests.support.workplace import outputs_of

from nel_action.cli.ci import ci
from nel_action.errors import SpecError
from nel_action.github import evaluate as evaluating
from nel_action.github.context import ActionContext
from nel_action.github.outcome import Outcome

SPEC = """\
execution: {type: slurm, hostname: login, account: a, output_dir: /tmp/x}
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation: {tasks: [{name: ifeval}]}
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GITHUB_EVENT_PATH", "GITHUB_SHA", "INPUT_CONFIG_NAME", "INPUT_MODE"):
        monkeypatch.delenv(name, raising=False)
    variables = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "Codertocat/Hello-World",
        "GITHUB_EVENT_NAME": "push",
        "GITHUB_SHA": "a" * 40,
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "RUNNER_TEMP": str(tmp_path),
        "NEL_ACTION_HOME": str(tmp_path / "home"),
        "INPUT_SPEC": str(tmp_path / "spec.yaml"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def test_unexpected_exception_is_unmeasurable_and_concludes_check(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_context: object) -> None:
        msg = "::error::no such thing"
        raise TypeError(msg)

    monkeypatch.setattr(evaluating, "evaluate", fail)
    with github() as hub:
        for name, value in (hub.environ() | {"INPUT_GITHUB_TOKEN": hub.token}).items():
            monkeypatch.setenv(name, value)
        ran = CliRunner().invoke(ci, ["run"], standalone_mode=False)
        assert ran.return_value == 3
        log = ran.output.partition("::stop-commands::")[2]
        assert "TypeError" in log, "the traceback is printed as untrusted text"
        CliRunner().invoke(ci, ["finish"], standalone_mode=False)
        (check,) = hub.store.checks_of("a" * 40)
    assert check["conclusion"] == "failure"
    outputs = outputs_of(job / "outputs")
    assert (outputs["exit-code"], outputs["state"], outputs["verdict"]) == ("3", "error", "none")
    assert "TypeError" in outputs["summary"]


@pytest.mark.usefixtures("job")
def test_unexpected_exception_after_the_verdict_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_in_export(context: ActionContext) -> Outcome:
        outcome = Outcome(code=0, verdict="pass", state="finished", invocation="0" * 16)
        context.state.update(outcome=outcome, concluded=True)
        msg = "an exporter failed"
        raise TypeError(msg)

    monkeypatch.setattr(evaluating, "evaluate", fail_in_export)
    with github() as hub:
        for name, value in (hub.environ() | {"INPUT_GITHUB_TOKEN": hub.token}).items():
            monkeypatch.setenv(name, value)
        ran = CliRunner().invoke(ci, ["run"], standalone_mode=False)
        assert ran.return_value == 0
        assert "TypeError after the verdict was published" in ran.output
        CliRunner().invoke(ci, ["finish"], standalone_mode=False)
        assert hub.store.checks_of("a" * 40) == []
    assert outputs_of(Path(os.environ["GITHUB_OUTPUT"]))["verdict"] == "pass"


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
def test_extras_lists_requirements_of_spec(
    job: Path, monkeypatch: pytest.MonkeyPatch, text: str, exporters: str, expected: list[str]
) -> None:
    (job / "spec.yaml").write_text(text)
    monkeypatch.setenv("INPUT_EXPORTERS", exporters)
    ran = CliRunner().invoke(ci, ["extras"], standalone_mode=False)
    assert ran.output.split() == expected


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("debug", ["0", "1"])
def test_debug_logging_shows_requests_without_commands_or_secrets(monkeypatch: pytest.MonkeyPatch, debug: str) -> None:
    monkeypatch.setenv("RUNNER_DEBUG", debug)
    monkeypatch.setenv("MODEL_API_KEY", "s3cret-value")

    def evaluate(context: ActionContext, **_options: object) -> Outcome:
        assert context.api is not None
        context.api.get(f"/repos/{context.event.repository}/commits")
        logging.getLogger("nel_action.github").debug("first\n::error::%s", "s3cret-value")
        return Outcome(code=0, state="finished")

    monkeypatch.setattr(evaluating, "evaluate", evaluate)
    root = logging.getLogger("nel_action")
    before = list(root.handlers)
    with github() as hub:
        for name, value in (hub.environ() | {"INPUT_GITHUB_TOKEN": hub.token}).items():
            monkeypatch.setenv(name, value)
        ran = CliRunner().invoke(ci, ["run"], standalone_mode=False)
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
    lines = ran.stderr.splitlines()
    assert any("GET /repos/Codertocat/Hello-World/commits: 200" in line for line in lines) is (debug == "1")
    assert ("> ::error::***" in lines) is (debug == "1")
    assert "s3cret-value" not in ran.stderr
    assert hub.token not in ran.stderr


def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **inputs: str) -> None:
    """Remove the variables of a workflow, and set inputs."""
    for name in ("GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_EVENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEL_ACTION_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, value in inputs.items():
        monkeypatch.setenv(f"INPUT_{name.upper()}", value)


def test_run_outside_of_github_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("evaluation: {tasks: [{name: no-such-task-anywhere}]}\n")
    outside(monkeypatch, tmp_path, spec="spec.yaml", comment="always", history_branch="data")
    result = CliRunner().invoke(ci, ["run"])
    assert isinstance(result.exception, SpecError)
    assert "no-such-task-anywhere" in str(result.exception)
    assert (
        "this is not a GitHub workflow: no check, no comment, no outputs and no artifact are written" in result.output
    )
    assert "ignored: comment, history-branch" in result.output


@pytest.mark.parametrize(("name", "value"), [("mode", "collect"), ("gate", "policy.yaml"), ("gate", "false")])
def test_inputs_that_decide_the_verdict_are_not_ignored_outside_of_github(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    outside(monkeypatch, tmp_path, spec="spec.yaml", **{name: value})
    result = CliRunner().invoke(ci, ["run"])
    assert isinstance(result.exception, SpecError)
    assert "works in a GitHub workflow only" in str(result.exception)


def test_finish_outside_of_github_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outside(monkeypatch, tmp_path)
    result = CliRunner().invoke(ci, ["finish"])
    assert "there is nothing to complete" in result.output
    assert result.exception is None
