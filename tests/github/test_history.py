"""Nights on a data branch: nothing lost, nothing doubled, whoever writes beside us."""

from __future__ import annotations

import json

import pytest
from tests.doubles.github.server import Fault, GitHubDouble
from tests.support.gate_runs import make_report

from nel_action.errors import ResultsError
from nel_action.gating.trend import TrendEntry
from nel_action.gating.verdict import Verdict
from nel_action.github import history as history_module
from nel_action.github.api import GitHubApi
from nel_action.github.data_branch import DataBranch
from nel_action.github.errors import PermissionRefusedError, RefusedError
from nel_action.github.history import History, ScheduledRun, scheduled_run, trend_points

REPOSITORY = "Codertocat/Hello-World"


def history(api: GitHubApi) -> History:
    return History(DataBranch(api, REPOSITORY, "nel-action-data"), "nightly")


def night(number: int, verdict: Verdict = Verdict.PASS, value: float | None = 0.8) -> ScheduledRun:
    task = TrendEntry(task="gsm8k", model="m", metric="exact_match", value=value, verdict=verdict)
    when = f"2026-11-{number:02d}T03:00:00Z"
    return ScheduledRun(when=when, invocation=f"{number:016x}", verdict=verdict, tasks=(task,))


def lines(hub: GitHubDouble) -> list[dict[str, str]]:
    return [json.loads(line) for line in hub.store.read_branch("nel-action-data")["nightly.jsonl"].splitlines()]


def test_the_branch_is_made_when_first_written_and_has_no_past(api: GitHubApi, hub: GitHubDouble) -> None:
    assert history(api).read() == []
    assert history(api).add(night(1)) == [night(1)]
    commit = hub.store.objects[hub.store.refs["heads/nel-action-data"]]
    assert commit["parents"] == []


def test_nights_come_back_oldest_first(api: GitHubApi) -> None:
    for number in (3, 1, 2):
        history(api).add(night(number))
    assert history(api).read() == [night(1), night(2), night(3)]


def test_a_re_run_replaces_its_night(api: GitHubApi, hub: GitHubDouble) -> None:
    history(api).add(night(1, Verdict.UNMEASURABLE, None))
    history(api).add(night(1))
    assert [line["verdict"] for line in lines(hub)] == ["pass"]


def test_other_files_on_the_branch_stay(api: GitHubApi, hub: GitHubDouble) -> None:
    DataBranch(api, REPOSITORY, "nel-action-data").update("other.txt", lambda _: "kept", message="x")
    history(api).add(night(1))
    assert hub.store.read_branch("nel-action-data")["other.txt"] == "kept"


def test_somebody_who_was_faster_loses_nothing(api: GitHubApi, hub: GitHubDouble) -> None:
    history(api).add(night(1))
    branch = DataBranch(api, REPOSITORY, "nel-action-data")
    raced = iter([True])

    def change(text: str | None) -> str:
        if next(raced, False):
            history(api).add(night(2))
        return (text or "") + night(3).model_dump_json(exclude_defaults=True) + "\n"

    branch.update("nightly.jsonl", change, message="x")
    assert [line["invocation"][-1] for line in lines(hub)] == ["1", "2", "3"]


def test_two_who_make_the_branch_at_once_both_count(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("GET .*/git/ref/", 404)]
    history(api).add(night(1))
    hub.faults = [Fault("GET .*/git/ref/", 404)]
    history(api).add(night(2))
    assert [line["invocation"][-1] for line in lines(hub)] == ["1", "2"]


def test_a_lost_answer_writes_no_night_twice(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("POST .*/git/refs", None, after=True)]
    history(api).add(night(1))
    hub.faults = [Fault("PATCH .*/git/refs", 502, after=True)]
    history(api).add(night(2))
    assert [line["invocation"][-1] for line in lines(hub)] == ["1", "2"]


def test_a_branch_that_never_stands_still_is_given_up(api: GitHubApi, hub: GitHubDouble) -> None:
    history(api).add(night(1))
    hub.faults = [Fault("PATCH", 422, "Update is not a fast forward", times=99)]
    with pytest.raises(RefusedError):
        history(api).add(night(2))
    assert len(hub.requests("PATCH")) == 5


def test_without_the_right_it_says_which_line_is_missing(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError, match="contents: write"):
        history(api).add(night(1))


def test_old_nights_fall_off(api: GitHubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "KEPT", 2)
    for number in (1, 2, 3):
        history(api).add(night(number))
    assert history(api).read() == [night(2), night(3)]


def test_a_spoilt_history_is_an_error_and_is_not_overwritten(api: GitHubApi, hub: GitHubDouble) -> None:
    DataBranch(api, REPOSITORY, "nel-action-data").update("nightly.jsonl", lambda _: "spoilt\n", message="x")
    with pytest.raises(ResultsError, match="none of ours"):
        history(api).add(night(1))
    assert hub.store.read_branch("nel-action-data")["nightly.jsonl"] == "spoilt\n"


def test_a_night_is_what_the_gate_said() -> None:
    report = make_report(Verdict.FAIL)
    made = scheduled_run(report.results, report.gate)
    assert (made.verdict, made.commit, made.tasks[0].value) == (Verdict.FAIL, "a" * 40, 0.8)


def test_a_trend_leaves_out_what_was_not_measured() -> None:
    points = trend_points([night(1), night(2, Verdict.UNMEASURABLE, None), night(3)])
    assert [point.when[8:10] for point in points] == ["01", "03"]
