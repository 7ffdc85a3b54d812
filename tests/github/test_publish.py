"""Telling GitHub: each channel alone, none of them deciding anything."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import HEAD, MakeContext
from tests.support import reports

from nel_action.errors import ExitCode, Location, NelActionError, Problem, SpecError
from nel_action.gating.verdict import Verdict
from nel_action.github.check import Conclusion
from nel_action.model.job import JobState
from nel_action.report.progress import JobRow

SPEC = Path("evals/gate.yaml")


def place(_task: str) -> Location:
    return Location(SPEC, 7)


def row(done: int = 3) -> JobRow:
    return JobRow(name="arith", state=JobState.RUNNING, done=done, total=9)


def check(hub: GitHubDouble) -> dict[str, object]:
    (found,) = hub.store.checks_of(HEAD)
    return found


def test_a_verdict_reaches_every_channel(make_context: MakeContext, hub: GitHubDouble, log: io.StringIO) -> None:
    context = make_context()
    publisher = context.publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=place)
    assert check(hub)["conclusion"] == "failure"
    (comment,) = hub.store.comments_of(2)
    assert "gsm8k fell" in comment["body"]
    assert "gsm8k fell" in Path(context.environ["GITHUB_STEP_SUMMARY"]).read_text()
    assert "::error file=evals/gate.yaml,line=7,title=gsm8k%3A fail::" in log.getvalue()


def test_bad_news_is_annotated_at_its_line_and_good_news_nowhere(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=place)
    notes = hub.store.annotations[int(str(check(hub)["id"]))]
    assert {note["title"].split(":")[0] for note in notes} == {"ifeval", "gsm8k", "style", "mmlu"}
    levels = {note["title"]: note["annotation_level"] for note in notes}
    assert levels["ifeval: inconclusive"] == "warning"
    assert levels["mmlu: unmeasurable"] == "failure"


def test_120_annotations_go_in_three_requests(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.conclude(reports.many(120, Verdict.FAIL), ExitCode.FAIL, locate=place)
    number = int(str(check(hub)["id"]))
    sizes = [len(body["output"].get("annotations", [])) for body in hub.store.check_history[number]]
    assert sizes == [0, 50, 50, 20]
    assert check(hub)["conclusion"] == "failure"


def test_notes_that_github_refuses_keep_no_verdict_from_it(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    hub.faults = [Fault("PATCH .*/check-runs", 422)]
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=place)
    assert check(hub)["conclusion"] == "failure"
    assert hub.store.annotations[int(str(check(hub)["id"]))] == []


@pytest.mark.parametrize("count", [1, 400, 1200])
def test_however_many_fell_the_comment_and_the_check_take_it(
    make_context: MakeContext, hub: GitHubDouble, count: int
) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.conclude(reports.many(count, Verdict.FAIL), ExitCode.FAIL, locate=lambda _: None)
    (comment,) = hub.store.comments_of(2)
    assert len(comment["body"]) <= 65_536
    assert "task-00000" in comment["body"]
    if count <= 400:
        assert f"task-{count - 1:05}" in comment["body"], "a row with bad news is never dropped"
    assert check(hub)["conclusion"] == "failure"


def test_a_summary_fits_in_bytes_and_not_only_in_characters(make_context: MakeContext) -> None:
    report = reports.many(900, Verdict.FAIL)
    tasks = tuple(one.model_copy(update={"task": "評" * 100 + one.task}) for one in report.gate.tasks)
    gate = report.gate.model_copy(update={"tasks": tasks})
    context = make_context()
    context.publisher().conclude(
        type(report)(results=report.results, gate=gate, metadata=report.metadata), ExitCode.FAIL, locate=lambda _: None
    )
    assert 100_000 < Path(context.environ["GITHUB_STEP_SUMMARY"]).stat().st_size < 1024 * 1024


def test_progress_is_shown_and_no_oftener_than_once_a_minute(
    make_context: MakeContext, hub: GitHubDouble, sleeper: Sleeper
) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", text="state", summary="begun")
    for number in range(5):
        publisher.show_progress([row(number)])
        sleeper.time += 20
    assert [body.partition("of 9")[0][-2:] for _, body in hub.store.comment_edits] == ["3 "]
    (comment,) = hub.store.comments_of(2)
    assert "3 of 9" in comment["body"]
    (found,) = hub.store.checks_of(HEAD)
    assert found["status"] == "in_progress"
    assert found["output"]["text"] == "state", "showing progress loses nothing that a later process needs"


@pytest.mark.parametrize("mode", ["changes", "failures"])
def test_a_comment_that_may_not_come_is_not_begun_by_progress(
    make_context: MakeContext, hub: GitHubDouble, mode: str
) -> None:
    publisher = make_context(comment=mode).publisher()
    publisher.show_progress([row()])
    publisher.conclude(reports.passed(), ExitCode.PASS, locate=place)
    assert hub.store.comments == {}


def test_one_that_is_there_is_kept_true(make_context: MakeContext, hub: GitHubDouble) -> None:
    make_context(comment="failures").publisher().conclude(reports.failed(), ExitCode.FAIL, locate=place)
    make_context(comment="failures").publisher().conclude(reports.passed(), ExitCode.PASS, locate=place)
    (comment,) = hub.store.comments_of(2)
    assert "passed" in comment["body"]


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ({"checks": "write"}, "pull-requests: write"),
        ({"pull_requests": "write"}, "checks: write"),
        ({}, "checks: write"),
    ],
)
def test_what_is_refused_is_a_warning_with_its_lines_and_the_rest_goes_on(
    make_context: MakeContext, hub: GitHubDouble, log: io.StringIO, rights: dict[str, str], missing: str
) -> None:
    hub.grant(**rights)
    context = make_context()
    publisher = context.publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=place)
    warnings = [line for line in log.getvalue().splitlines() if line.startswith("::warning")]
    assert any(missing in line for line in warnings)
    assert len(hub.store.comments_of(2)) == ("pull_requests" in rights)
    assert len(hub.store.checks_of(HEAD)) == ("checks" in rights)
    assert "gsm8k" in Path(context.environ["GITHUB_STEP_SUMMARY"]).read_text()


def test_a_refused_channel_is_not_tried_again(make_context: MakeContext, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    before = len(hub.requests("POST .*/check-runs"))
    publisher.open(external_id="y", summary="begun")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=place)
    assert len(hub.requests("/check-runs")) - before <= 1
    assert publisher.check_id is None


def test_trouble_is_told_with_its_place_and_its_remedy(
    make_context: MakeContext, hub: GitHubDouble, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    monkeypatch.chdir(context.root)
    publisher = context.publisher()
    publisher.open(external_id="x", summary="begun")
    wrong = Problem("unknown key 'max_dorp'", Location(SPEC, 9, 13), "did you mean 'max_drop'?")
    publisher.report_error(SpecError([wrong]))
    found = check(hub)
    assert (found["status"], found["conclusion"]) == ("completed", "failure")
    (note,) = hub.store.annotations[int(str(found["id"]))]
    assert (note["path"], note["start_line"]) == ("evals/gate.yaml", 9)
    assert "::error file=evals/gate.yaml,line=9,col=13::" in log.getvalue()
    (comment,) = hub.store.comments_of(2)
    assert "did you mean" in comment["body"]


def test_annotations_know_the_repository_and_not_the_working_directory(
    make_context: MakeContext, hub: GitHubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    (context.root / "models/evals").mkdir(parents=True)
    monkeypatch.chdir(context.root / "models")
    publisher = context.publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.report_error(SpecError([Problem("wrong", Location(SPEC, 9))]))
    (note,) = hub.store.annotations[int(str(check(hub)["id"]))]
    assert note["path"] == "models/evals/gate.yaml"
    publisher.report_error(SpecError([Problem("wrong", Location(Path("/elsewhere/gate.yaml"), 9))]))
    assert len(hub.store.annotations[int(str(check(hub)["id"]))]) == 1, "no note at a place that GitHub cannot show"


def test_thousands_of_problems_fit_and_markup_in_them_is_inert(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.report_error(SpecError([Problem(f"{number} {reports.HOSTILE}" * 3) for number in range(400)]))
    (comment,) = hub.store.comments_of(2)
    assert len(comment["body"]) <= 65_536
    assert re.search(r"\nand \d+ more\n$", comment["body"])
    assert "@octocat" not in comment["body"]
    assert "<img" not in comment["body"]
    assert check(hub)["conclusion"] == "failure"


def test_a_cancel_is_no_failure_and_no_pass(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.report_error(NelActionError("cancelled"), conclusion=Conclusion.CANCELLED)
    assert check(hub)["conclusion"] == "cancelled"


def test_left_open_stays_in_progress(make_context: MakeContext, hub: GitHubDouble, log: io.StringIO) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.leave_open("invocation 0123 still runs")
    assert (check(hub)["status"], check(hub)["conclusion"]) == ("in_progress", None)
    assert "still runs" in log.getvalue()


@pytest.mark.parametrize("fork", [True, False])
def test_a_forks_token_is_not_asked_to_write(make_context: MakeContext, hub: GitHubDouble, *, fork: bool) -> None:
    publisher = make_context(event={"fork": fork}).publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=place)
    writes = [seen for seen in hub.seen if seen.method != "GET" and "graphql" not in seen.target]
    assert bool(writes) is not fork


@pytest.mark.parametrize("form", ["sk_a*b|c-s3cret", "c2tfYSpifGMtczNjcmV0"])
def test_what_jobs_and_backends_say_is_swept_before_it_is_escaped(
    make_context: MakeContext, hub: GitHubDouble, form: str
) -> None:
    context = make_context(environ={"MODEL_KEY": "sk_a*b|c-s3cret"})
    report = reports.failed()
    gate = report.gate.model_copy(update={"reasons": (f"exit status 1: {form}",), "notes": (form,)})
    tasks = tuple(one.model_copy(update={"reasons": (form,)}) for one in gate.tasks)
    seen = tuple(one.model_copy(update={"detail": form}) for one in report.results.tasks)
    results = report.results.model_copy(update={"tasks": seen})
    spoilt = type(report)(results=results, gate=gate.model_copy(update={"tasks": tasks}), metadata=report.metadata)
    publisher = context.publisher()
    publisher.open(external_id="x", summary="begun")
    publisher.show_progress([JobRow(name="a", state=JobState.FAILED, detail=form)])
    publisher.conclude(spoilt, ExitCode.FAIL, locate=place)
    publisher.report_error(NelActionError(form, hint=form))
    told = b"".join(seen.body for seen in hub.seen) + Path(context.environ["GITHUB_STEP_SUMMARY"]).read_bytes()
    assert b"s3cret" not in told
    assert b"c2tfYSpifGM" not in told
    assert told.count(b"\\*\\*\\*") > 10
