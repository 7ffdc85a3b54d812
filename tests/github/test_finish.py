"""The step that always runs: after an end of its own, a kill, a crash, or nothing at all."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.github.conftest import HEAD, MakeContext
from tests.support.workplace import outputs_of

from nel_action.errors import ExitCode
from nel_action.github.context import ActionContext
from nel_action.github.finish import finish
from nel_action.github.inputs import OUTPUTS
from nel_action.github.outcome import Outcome


def outputs(context: ActionContext) -> dict[str, str]:
    found = outputs_of(Path(context.environ["GITHUB_OUTPUT"]))
    assert set(found) == {*OUTPUTS, "artifact-name", "artifact-path"}
    return found


def opened(context: ActionContext) -> int:
    publisher = context.publisher()
    publisher.open(external_id="0123456789abcdef:x", summary="begun")
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
def test_every_output_is_set_in_every_ending(
    make_context: MakeContext, hub: GitHubDouble, code: ExitCode, verdict: str, state: str
) -> None:
    context = make_context()
    known = {"invocation": "0" * 16, "results": "/r/results.json", "report": "/r/report.md", "summary": "so it is"}
    context.state.update(outcome=Outcome(code=int(code), verdict=verdict, state=state, **known), concluded=True)
    finish(context)
    said = outputs(context)
    assert (said["exit-code"], said["verdict"], said["state"]) == (str(int(code)), verdict, state)
    assert (said["invocation-id"], said["summary"]) == ("0" * 16, "so it is")
    assert (said["results-path"], said["report-path"]) == ("/r/results.json", "/r/report.md")
    assert hub.seen == [], "who concluded has told everybody already"


def test_nothing_begun_is_an_error_and_touches_nothing(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    finish(context)
    said = outputs(context)
    assert (said["exit-code"], said["verdict"], said["artifact-path"]) == ("3", "none", "")
    assert hub.seen == []


def test_a_kill_before_anything_was_submitted_ends_the_check(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    context.state.update(check_id=opened(context), head_sha=HEAD)
    finish(context)
    said = outputs(context)
    assert (said["exit-code"], said["state"], said["verdict"]) == ("130", "cancelled", "none")
    (check,) = hub.store.checks_of(HEAD)
    assert check["conclusion"] == "cancelled"
    assert "before anything was submitted" in check["output"]["summary"]


def test_a_kill_while_jobs_run_elsewhere_keeps_them_and_the_check(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    running = Outcome(code=int(ExitCode.RUNNING), invocation="0123456789abcdef", state="running")
    context.state.update(check_id=opened(context), run_dir="/gone", outlives=True, on_cancel="keep", outcome=running)
    finish(context)
    said = outputs(context)
    assert (said["exit-code"], said["invocation-id"]) == ("130", "0123456789abcdef")
    (check,) = hub.store.checks_of(HEAD)
    assert check["status"] == "in_progress"
    assert "collect" in said["summary"]


def test_without_a_check_nobody_waits_so_the_kept_jobs_are_told(make_context: MakeContext, hub: GitHubDouble) -> None:
    hub.grant(contents="read", pull_requests="write")
    context = make_context()
    context.state.update(run_dir="/gone", outlives=True, on_cancel="keep")
    finish(context)
    assert "go on" in outputs(context)["summary"]
    (comment,) = hub.store.comments_of(2)
    assert "go on" in comment["body"]


def test_jobs_that_cannot_be_cancelled_are_told_and_not_hidden(make_context: MakeContext, log: io.StringIO) -> None:
    context = make_context()
    context.state.update(check_id=opened(context), run_dir="/no/such/run", outlives=True, on_cancel="cancel")
    finish(context)
    assert "may still run" in outputs(context)["summary"]
    assert "::error title=Jobs may still run::" in log.getvalue()


def test_a_crash_is_neither_a_cancel_nor_a_verdict(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context()
    context.state.update(check_id=opened(context), crash="TypeError: <b>x</b>")
    finish(context)
    said = outputs(context)
    assert (said["exit-code"], said["state"], said["verdict"]) == ("3", "error", "none")
    (check,) = hub.store.checks_of(HEAD)
    assert check["conclusion"] == "failure"
    assert "nel-action itself failed" in check["output"]["summary"]
    assert "<b>" not in check["output"]["summary"]


def test_all_that_one_call_concluded_is_kept(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context()
    for name in ("one", "two", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "results.json").write_text(f'"{name}"')
        context.state.update(run_dir=str(tmp_path / name), concluded=True)
    finish(context)
    kept = Path(outputs(context)["artifact-path"])
    assert (kept / "results.json").read_text() == '"two"'
    assert (kept / "one/results.json").read_text() == '"one"'


def test_a_forks_word_is_kept_under_a_name_that_is_nobodys_baseline(make_context: MakeContext) -> None:
    context = make_context()
    (context.temp_dir / "fork").mkdir(parents=True)
    (context.temp_dir / "fork/results.json").write_text("{}")
    context.state.update(run_dir=str(context.temp_dir / "fork"), concluded=True)
    finish(context)
    assert outputs(context)["artifact-name"] == "nel-action-benchmark-gate-fork"


def test_what_is_kept_is_laid_out_without_secrets(make_context: MakeContext, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "arith/logs").mkdir(parents=True)
    (run / "results.json").write_text("{}")
    (run / "arith/logs/stdout.log").write_text("the key is s3cret-value\n")
    context = make_context(environ={"MODEL_LOGIN": "s3cret-value"})
    done = Outcome(code=0, verdict="pass", state="finished")
    context.state.update(outcome=done, concluded=True, run_dir=str(run), secrets=("MODEL_LOGIN",))
    finish(context)
    kept = Path(outputs(context)["artifact-path"])
    assert json.loads((kept / "results.json").read_text()) == {}
    assert (kept / "arith/logs/stdout.log").read_text() == "the key is ***\n"
