"""History of scheduled runs on a data branch, also with concurrent writers, and regressions confirmed by it."""

from __future__ import annotations

import json

import pytest
from tests.doubles.github.server import Fault, GitHubDouble
from tests.support.gate_reports import make_report

from nel_action.errors import ResultsError
from nel_action.gating.trend import TrendEntry
from nel_action.gating.verdict import Verdict
from nel_action.github import history as history_module
from nel_action.github.api import GitHubApi
from nel_action.github.errors import PermissionRefusedError, RefusedError
from nel_action.github.history import (
    DataBranch,
    History,
    ScheduledRun,
    confirmed_regressions,
    scheduled_run,
    trend_points,
)

pytestmark = pytest.mark.slow

REPOSITORY = "Codertocat/Hello-World"


def history(api: GitHubApi) -> History:
    return History(DataBranch(api, REPOSITORY, "nel-action-data"), "nightly")


def run(number: int, verdict: Verdict = Verdict.PASS, value: float | None = 0.8) -> ScheduledRun:
    task = TrendEntry(task="gsm8k", model="m", metric="exact_match", value=value, verdict=verdict)
    when = f"2026-11-{number:02d}T03:00:00Z"
    return ScheduledRun(when=when, invocation=f"{number:016x}", verdict=verdict, tasks=(task,))


def stored_lines(hub: GitHubDouble) -> list[dict[str, str]]:
    return [json.loads(line) for line in hub.store.read_branch("nel-action-data")["nightly.jsonl"].splitlines()]


def test_first_write_creates_branch_without_parent(api: GitHubApi, hub: GitHubDouble) -> None:
    assert history(api).read() == []
    assert history(api).add(run(1)) == [run(1)]
    commit = hub.store.objects[hub.store.refs["heads/nel-action-data"]]
    assert commit["parents"] == []


def test_read_returns_runs_oldest_first(api: GitHubApi) -> None:
    for number in (3, 1, 2):
        history(api).add(run(number))
    assert history(api).read() == [run(1), run(2), run(3)]


def test_add_replaces_run_of_same_invocation(api: GitHubApi, hub: GitHubDouble) -> None:
    history(api).add(run(1, Verdict.UNMEASURABLE, None))
    history(api).add(run(1))
    assert [line["verdict"] for line in stored_lines(hub)] == ["pass"]


def test_add_preserves_other_files_of_the_branch(api: GitHubApi, hub: GitHubDouble) -> None:
    DataBranch(api, REPOSITORY, "nel-action-data").update("other.txt", lambda _: "kept", message="x")
    history(api).add(run(1))
    assert hub.store.read_branch("nel-action-data")["other.txt"] == "kept"


def test_update_starts_again_after_concurrent_write(api: GitHubApi, hub: GitHubDouble) -> None:
    history(api).add(run(1))
    branch = DataBranch(api, REPOSITORY, "nel-action-data")
    raced = iter([True])

    def change(text: str | None) -> str:
        if next(raced, False):
            history(api).add(run(2))
        return (text or "") + run(3).model_dump_json(exclude_defaults=True) + "\n"

    branch.update("nightly.jsonl", change, message="x")
    assert [line["invocation"][-1] for line in stored_lines(hub)] == ["1", "2", "3"]


def test_concurrent_creation_of_branch_keeps_both_runs(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET .*/git/ref/", 404)]
    history(api).add(run(1))
    hub.faults = [Fault("GET .*/git/ref/", 404)]
    history(api).add(run(2))
    assert [line["invocation"][-1] for line in stored_lines(hub)] == ["1", "2"]


def test_lost_answer_stores_no_run_twice(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("POST .*/git/refs", None, after=True)]
    history(api).add(run(1))
    hub.faults = [Fault("PATCH .*/git/refs", 502, after=True)]
    history(api).add(run(2))
    assert [line["invocation"][-1] for line in stored_lines(hub)] == ["1", "2"]


def test_add_raises_after_five_conflicts(api: GitHubApi, hub: GitHubDouble) -> None:
    history(api).add(run(1))
    hub.faults = [Fault("PATCH", 422, "Update is not a fast forward", times=99)]
    with pytest.raises(RefusedError):
        history(api).add(run(2))
    assert len(hub.requests("PATCH")) == 5


def test_add_without_permission_names_missing_line(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError, match="contents: write"):
        history(api).add(run(1))


def test_add_drops_oldest_runs(api: GitHubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MAX_RUNS", 2)
    for number in (1, 2, 3):
        history(api).add(run(number))
    assert history(api).read() == [run(2), run(3)]


def test_malformed_history_raises_and_is_not_overwritten(api: GitHubApi, hub: GitHubDouble) -> None:
    DataBranch(api, REPOSITORY, "nel-action-data").update("nightly.jsonl", lambda _: "malformed\n", message="x")
    with pytest.raises(ResultsError, match="malformed line"):
        history(api).add(run(1))
    assert hub.store.read_branch("nel-action-data")["nightly.jsonl"] == "malformed\n"


def test_scheduled_run_contains_verdict_and_scores() -> None:
    report = make_report(Verdict.FAIL)
    recorded = scheduled_run(report.results, report.gate)
    assert (recorded.verdict, recorded.commit, recorded.tasks[0].value) == (Verdict.FAIL, "a" * 40, 0.8)


def test_trend_points_exclude_unmeasured_scores() -> None:
    points = trend_points([run(1), run(2, Verdict.UNMEASURABLE, None), run(3)])
    assert [point.when[8:10] for point in points] == ["01", "03"]


def runs_of(*values: float | None) -> list[ScheduledRun]:
    """Return runs of one task whose policy has `min: 0.7`; None for a run that was not measured."""
    return [
        ScheduledRun(when=f"2026-11-{number + 1:02d}", invocation=str(number), verdict=task.verdict, tasks=(task,))
        for number, task in enumerate(map(task_score, values))
    ]


def task_score(value: float | None) -> TrendEntry:
    verdict = Verdict.UNMEASURABLE if value is None else (Verdict.FAIL if value < 0.7 else Verdict.PASS)
    return TrendEntry(task="gsm8k", model="m", value=value, stderr=0.02, n=400, verdict=verdict, limits={"min": 0.7})


@pytest.mark.parametrize(
    ("values", "confirmed"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.5), True),
        ((0.5, None, 0.5), True),
        ((0.5, 0.5, 0.8), False),
        ((0.8, 0.8, 0.68, 0.68), False),
        ((0.5, 0.5, None), True),
    ],
)
def test_regression_is_confirmed_by_all_runs(values: tuple[float | None, ...], confirmed: bool) -> None:  # noqa: FBT001
    regressions = confirmed_regressions(runs_of(*values))
    assert [regression.task for regression in regressions] == ["gsm8k"] * confirmed
