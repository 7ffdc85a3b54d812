"""The final step, after a completed, killed, crashed or missing main step."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.github.conftest import BASE, HEAD, MakeContext
from tests.support.workplace import outputs_of

from nel_action.errors import ExitCode
from nel_action.github.context import ActionContext
from nel_action.github.finish import finish
from nel_action.github.inputs import OUTPUTS
from nel_action.github.outcome import Outcome


@pytest.fixture(autouse=True)
def pull_request(hub: GitHubDouble) -> None:
    """Open the pull request of the contexts."""
    hub.store.add_pull(2, head=HEAD, base=BASE)


def outputs(context: ActionContext) -> dict[str, str]:
    values = outputs_of(Path(context.environ["GITHUB_OUTPUT"]))
    assert set(values) == {*OUTPUTS, "artifact-name", "artifact-path"}
    return values


def open_check(context: ActionContext) -> int:
    publisher = context.publisher()
    publisher.open(external_id="0123456789abcdef:x", summary="started")
    assert publisher.check_id is not None
    return publisher.check_id


@pytest.mark.parametrize(
    ("code", "verdict", "state"),
    [
        (ExitCode.PASS, "pass", "finished"),
        (ExitCode.FAIL, "fail", "finished"),
        (ExitCode.USAGE, "none", "error"),
        (ExitCode.UNMEASURABLE, "unmeasurable", "finished"),
        (ExitCode.INCONCLUSIVE, "inconclusive", "finished"),
        (ExitCode.RUNNING, "none", "running"),
        (ExitCode.CANCELLED, "none", "cancelled"),
    ],
)
def test_all_outputs_are_set_for_all_outcomes(
    make_context: MakeContext, hub: GitHubDouble, code: ExitCode, verdict: str, state: str
) -> None:
    context = make_context()
    fields = {"invocation": "0" * 16, "results": "/r/results.json", "report": "/r/report.md", "summary": "the reason"}
    context.state.update(outcome=Outcome(code=int(code), verdict=verdict, state=state, **fields), concluded=True)
    finish(context)
    values = outputs(context)
    assert (values["exit-code"], values["verdict"], values["state"]) == (str(int(code)), verdict, state)
    assert (values["invocation-id"], values["summary"]) == ("0" * 16, "the reason")
    assert (values["results-path"], values["report-path"]) == ("/r/results.json", "/r/report.md")
    assert hub.seen == [], "the main step has already published the outcome"


def test_missing_main_step_is_an_error_without_requests(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    finish(context)
    values = outputs(context)
    assert (values["exit-code"], values["verdict"], values["artifact-path"]) == ("3", "none", "")
    assert hub.seen == []


def test_kill_before_submission_cancels_the_check(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    context.state.update(check_id=open_check(context), head_sha=HEAD)
    finish(context)
    values = outputs(context)
    assert (values["exit-code"], values["state"], values["verdict"]) == ("130", "cancelled", "none")
    (check,) = hub.store.checks_of(HEAD)
    assert check["conclusion"] == "cancelled"
    assert "before anything was submitted" in check["output"]["summary"]


def test_kill_with_remote_jobs_keeps_jobs_and_check(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    running = Outcome(code=int(ExitCode.RUNNING), invocation="0123456789abcdef", state="running")
    context.state.update(
        check_id=open_check(context), run_dir="/gone", outlives=True, on_cancel="keep", outcome=running
    )
    finish(context)
    values = outputs(context)
    assert (values["exit-code"], values["invocation-id"]) == ("130", "0123456789abcdef")
    (check,) = hub.store.checks_of(HEAD)
    assert check["status"] == "in_progress"
    assert "collect" in values["summary"]


def test_kill_without_check_reports_kept_jobs_in_comment(make_context: MakeContext, hub: GitHubDouble) -> None:
    hub.grant(contents="read", pull_requests="write")
    context = make_context()
    context.state.update(run_dir="/gone", outlives=True, on_cancel="keep")
    finish(context)
    assert "continue" in outputs(context)["summary"]
    (comment,) = hub.store.comments_of(2)
    assert "continue" in comment["body"]


def test_failed_cancellation_is_reported(make_context: MakeContext, log: io.StringIO) -> None:
    context = make_context()
    context.state.update(check_id=open_check(context), run_dir="/no/such/run", outlives=True, on_cancel="cancel")
    finish(context)
    assert "may still run" in outputs(context)["summary"]
    assert "::error title=Jobs may still run::" in log.getvalue()


def test_crash_is_an_error_without_verdict(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    context.state.update(check_id=open_check(context), crash="TypeError: <b>x</b>")
    finish(context)
    values = outputs(context)
    assert (values["exit-code"], values["state"], values["verdict"]) == ("3", "error", "none")
    (check,) = hub.store.checks_of(HEAD)
    assert check["conclusion"] == "failure"
    assert "nel-action itself failed" in check["output"]["summary"]
    assert "<b>" not in check["output"]["summary"]


def test_artifact_contains_all_runs_of_one_call(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context()
    for name in ("first", "second", "second"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "results.json").write_text(f'"{name}"')
        context.state.update(run_dir=str(tmp_path / name), concluded=True)
    finish(context)
    artifact = Path(outputs(context)["artifact-path"])
    assert (artifact / "results.json").read_text() == '"second"'
    assert (artifact / "first/results.json").read_text() == '"first"'


def test_artifact_of_fork_results_has_separate_name(make_context: MakeContext) -> None:
    context = make_context()
    (context.temp_dir / "fork").mkdir(parents=True)
    (context.temp_dir / "fork/results.json").write_text("{}")
    context.state.update(run_dir=str(context.temp_dir / "fork"), concluded=True)
    finish(context)
    assert outputs(context)["artifact-name"] == "nel-action-benchmark-gate-fork"


def test_artifact_contains_no_secrets(make_context: MakeContext, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "arith/logs").mkdir(parents=True)
    (run / "results.json").write_text("{}")
    (run / "arith/logs/stdout.log").write_text("the key is s3cret-value\n")
    context = make_context(environ={"MODEL_LOGIN": "s3cret-value"})
    outcome = Outcome(code=0, verdict="pass", state="finished")
    context.state.update(outcome=outcome, concluded=True, run_dir=str(run), secrets=("MODEL_LOGIN",))
    finish(context)
    artifact = Path(outputs(context)["artifact-path"])
    assert json.loads((artifact / "results.json").read_text()) == {}
    assert (artifact / "arith/logs/stdout.log").read_text() == "the key is ***\n"
