"""Publication of verdicts, progress and errors; failures of one channel do not affect the others or the verdict."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import BASE, HEAD, MakeContext
from tests.support import reports

from nel_action.errors import ExitCode, Location, NelActionError, Problem, SpecError
from nel_action.gating.verdict import Verdict
from nel_action.github.check import Conclusion
from nel_action.github.publish import Ticker
from nel_action.model.job import JobState
from nel_action.report.progress import JobRow

pytestmark = pytest.mark.slow

SPEC = Path("evals/gate.yaml")


@pytest.fixture(autouse=True)
def pull_request(hub: GitHubDouble) -> None:
    """Open the pull request of the contexts."""
    hub.store.add_pull(2, head=HEAD, base=BASE)


def locate(_task: str) -> Location:
    return Location(SPEC, 7)


def row(done: int = 3) -> JobRow:
    return JobRow(name="arith", state=JobState.RUNNING, done=done, total=9)


def check(hub: GitHubDouble) -> dict[str, object]:
    (check_run,) = hub.store.checks_of(HEAD)
    return check_run


def test_conclude_writes_all_channels(make_context: MakeContext, hub: GitHubDouble, log: io.StringIO) -> None:
    context = make_context()
    publisher = context.publisher()
    publisher.open(external_id="x", summary="started")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    assert check(hub)["conclusion"] == "failure"
    (comment,) = hub.store.comments_of(2)
    assert "gsm8k dropped" in comment["body"]
    assert "gsm8k dropped" in Path(context.environ["GITHUB_STEP_SUMMARY"]).read_text()
    assert "::error file=evals/gate.yaml,line=7,title=gsm8k%3A fail::" in log.getvalue()


def test_tasks_that_did_not_pass_are_annotated_at_their_policy(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    annotations = hub.store.annotations[int(str(check(hub)["id"]))]
    assert {annotation["title"].split(":")[0] for annotation in annotations} == {"ifeval", "gsm8k", "style", "mmlu"}
    levels = {annotation["title"]: annotation["annotation_level"] for annotation in annotations}
    assert levels["ifeval: inconclusive"] == "warning"
    assert levels["mmlu: unmeasurable"] == "failure"


def test_120_annotations_are_sent_in_three_requests(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    publisher.conclude(reports.many(120, Verdict.FAIL), ExitCode.FAIL, locate=locate)
    number = int(str(check(hub)["id"]))
    sizes = [len(body["output"].get("annotations", [])) for body in hub.store.check_history[number]]
    assert sizes == [0, 50, 50, 20]
    assert check(hub)["conclusion"] == "failure"


def test_refused_annotations_do_not_prevent_the_conclusion(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    hub.faults = [Fault("PATCH .*/check-runs", 422)]
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    assert check(hub)["conclusion"] == "failure"
    assert hub.store.annotations[int(str(check(hub)["id"]))] == []


@pytest.mark.parametrize("count", [1, 400, 1200])
def test_comment_and_check_accept_any_number_of_failures(
    make_context: MakeContext, hub: GitHubDouble, count: int
) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    publisher.conclude(reports.many(count, Verdict.FAIL), ExitCode.FAIL, locate=lambda _: None)
    (comment,) = hub.store.comments_of(2)
    assert len(comment["body"]) <= 65_536
    assert "task-00000" in comment["body"]
    if count <= 400:
        assert f"task-{count - 1:05}" in comment["body"], "rows of failed tasks are never dropped"
    assert check(hub)["conclusion"] == "failure"


def test_summary_limit_is_in_bytes(make_context: MakeContext) -> None:
    report = reports.many(900, Verdict.FAIL)
    tasks = tuple(task.model_copy(update={"task": "評" * 100 + task.task}) for task in report.gate.tasks)
    gate = report.gate.model_copy(update={"tasks": tasks})
    context = make_context()
    context.publisher().conclude(
        type(report)(results=report.results, gate=gate, metadata=report.metadata), ExitCode.FAIL, locate=lambda _: None
    )
    assert 100_000 < Path(context.environ["GITHUB_STEP_SUMMARY"]).stat().st_size < 1024 * 1024


def test_progress_updates_are_rate_limited_and_preserve_state(
    make_context: MakeContext, hub: GitHubDouble, sleeper: Sleeper
) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", text="state", summary="started")
    for number in range(5):
        publisher.show_progress([row(number)])
        sleeper.time += 20
    assert [body.partition("of 9")[0][-2:] for _, body in hub.store.comment_edits] == ["3 "]
    (comment,) = hub.store.comments_of(2)
    assert "3 of 9" in comment["body"]
    assert check(hub)["status"] == "in_progress"
    (check_run,) = hub.store.checks_of(HEAD)
    assert check_run["output"]["text"] == "state", "the state for later processes is preserved"


@pytest.mark.parametrize("mode", ["changes", "failures"])
def test_progress_creates_no_comment_in_other_modes(make_context: MakeContext, hub: GitHubDouble, mode: str) -> None:
    publisher = make_context(comment=mode).publisher()
    publisher.show_progress([row()])
    publisher.conclude(reports.passed(), ExitCode.PASS, locate=locate)
    assert hub.store.comments == {}


def test_existing_comment_is_updated_after_recovery(make_context: MakeContext, hub: GitHubDouble) -> None:
    make_context(comment="failures").publisher().conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    make_context(comment="failures").publisher().conclude(reports.passed(), ExitCode.PASS, locate=locate)
    (comment,) = hub.store.comments_of(2)
    assert "passed" in comment["body"]


@pytest.mark.parametrize(
    ("permissions", "missing"),
    [
        ({"checks": "write"}, "pull-requests: write"),
        ({"pull_requests": "write"}, "checks: write"),
        ({}, "checks: write"),
    ],
)
def test_refused_channel_is_a_warning_and_others_are_written(
    make_context: MakeContext, hub: GitHubDouble, log: io.StringIO, permissions: dict[str, str], missing: str
) -> None:
    hub.grant(**permissions)
    context = make_context()
    publisher = context.publisher()
    publisher.open(external_id="x", summary="started")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    warnings = [line for line in log.getvalue().splitlines() if line.startswith("::warning")]
    assert any(missing in line for line in warnings)
    assert len(hub.store.comments_of(2)) == ("pull_requests" in permissions)
    assert len(hub.store.checks_of(HEAD)) == ("checks" in permissions)
    assert "gsm8k" in Path(context.environ["GITHUB_STEP_SUMMARY"]).read_text()


def test_refused_channel_is_not_used_again(make_context: MakeContext, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    before = len(hub.requests("POST .*/check-runs"))
    publisher.open(external_id="y", summary="started")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    assert len(hub.requests("/check-runs")) - before <= 1
    assert publisher.check_id is None


def test_report_error_publishes_location_and_hint(
    make_context: MakeContext, hub: GitHubDouble, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    monkeypatch.chdir(context.root)
    publisher = context.publisher()
    publisher.open(external_id="x", summary="started")
    problem = Problem("unknown key 'max_dorp'", Location(SPEC, 9, 13), "did you mean 'max_drop'?")
    publisher.report_error(SpecError([problem]))
    check_run = check(hub)
    assert (check_run["status"], check_run["conclusion"]) == ("completed", "failure")
    (annotation,) = hub.store.annotations[int(str(check_run["id"]))]
    assert (annotation["path"], annotation["start_line"]) == ("evals/gate.yaml", 9)
    assert "::error file=evals/gate.yaml,line=9,col=13::" in log.getvalue()
    (comment,) = hub.store.comments_of(2)
    assert "did you mean" in comment["body"]


def test_annotations_are_relative_to_repository_not_working_directory(
    make_context: MakeContext, hub: GitHubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    (context.root / "models/evals").mkdir(parents=True)
    monkeypatch.chdir(context.root / "models")
    publisher = context.publisher()
    publisher.open(external_id="x", summary="started")
    publisher.report_error(SpecError([Problem("wrong", Location(SPEC, 9))]))
    (annotation,) = hub.store.annotations[int(str(check(hub)["id"]))]
    assert annotation["path"] == "models/evals/gate.yaml"
    publisher.report_error(SpecError([Problem("wrong", Location(Path("/elsewhere/gate.yaml"), 9))]))
    _, second = hub.store.checks_of(HEAD)
    assert hub.store.annotations[second["id"]] == [], "no annotation outside the repository"


def test_many_problems_fit_and_their_markup_is_escaped(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    publisher.report_error(SpecError([Problem(f"{number} {reports.HOSTILE}" * 3) for number in range(400)]))
    (comment,) = hub.store.comments_of(2)
    assert len(comment["body"]) <= 65_536
    assert re.search(r"\nand \d+ more\n$", comment["body"])
    assert "@octocat" not in comment["body"]
    assert "<img" not in comment["body"]
    assert check(hub)["conclusion"] == "failure"


def test_report_error_can_conclude_as_cancelled(make_context: MakeContext, hub: GitHubDouble) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    publisher.report_error(NelActionError("cancelled"), conclusion=Conclusion.CANCELLED)
    assert check(hub)["conclusion"] == "cancelled"


def test_leave_open_keeps_check_in_progress(make_context: MakeContext, hub: GitHubDouble, log: io.StringIO) -> None:
    publisher = make_context().publisher()
    publisher.open(external_id="x", summary="started")
    publisher.leave_open("invocation 0123 still runs")
    assert (check(hub)["status"], check(hub)["conclusion"]) == ("in_progress", None)
    assert "still runs" in log.getvalue()


@pytest.mark.parametrize("fork", [True, False])
def test_nothing_is_written_for_a_fork(make_context: MakeContext, hub: GitHubDouble, *, fork: bool) -> None:
    publisher = make_context(event={"fork": fork}).publisher()
    publisher.open(external_id="x", summary="started")
    publisher.conclude(reports.failed(), ExitCode.FAIL, locate=locate)
    writes = [seen for seen in hub.seen if seen.method != "GET" and "graphql" not in seen.target]
    assert bool(writes) is not fork


@pytest.mark.parametrize("form", ["sk_a*b|c-s3cret", "c2tfYSpifGMtczNjcmV0"])
def test_details_and_reasons_are_redacted_before_escaping(
    make_context: MakeContext, hub: GitHubDouble, form: str
) -> None:
    context = make_context(environ={"MODEL_KEY": "sk_a*b|c-s3cret"})
    report = reports.failed()
    gate = report.gate.model_copy(update={"reasons": (f"exit status 1: {form}",), "notes": (form,)})
    verdicts = tuple(task.model_copy(update={"reasons": (form,)}) for task in gate.tasks)
    tasks = tuple(task.model_copy(update={"detail": form}) for task in report.results.tasks)
    results = report.results.model_copy(update={"tasks": tasks})
    leaking = type(report)(results=results, gate=gate.model_copy(update={"tasks": verdicts}), metadata=report.metadata)
    publisher = context.publisher()
    publisher.open(external_id="x", summary="started")
    publisher.show_progress([JobRow(name="a", state=JobState.FAILED, detail=form)])
    publisher.conclude(leaking, ExitCode.FAIL, locate=locate)
    publisher.report_error(NelActionError(form, hint=form))
    published = b"".join(seen.body for seen in hub.seen) + Path(context.environ["GITHUB_STEP_SUMMARY"]).read_bytes()
    assert b"s3cret" not in published
    assert b"c2tfYSpifGM" not in published
    assert published.count(b"\\*\\*\\*") > 5


def test_ticker_is_due_once_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ticker = Ticker(30.0)
    assert (ticker.due(), ticker.due()) == (True, False)
    now = 130.0
    assert ticker.due()
