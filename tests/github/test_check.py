"""The check run: open before the work, concluded by the verdict, found again by whoever comes later."""

from __future__ import annotations

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble

from nel_action.errors import ExitCode
from nel_action.github.api import GitHubApi
from nel_action.github.check import OUTPUT_LIMIT, Annotation, Check, Conclusion, conclusion_of, find_open
from nel_action.github.errors import GitHubError, PermissionRefusedError

REPOSITORY = "Codertocat/Hello-World"
SHA = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"


def check(api: GitHubApi, name: str = "Benchmark gate") -> Check:
    return Check(api, REPOSITORY, name=name, head_sha=SHA)


def start(made: Check) -> None:
    made.start(external_id="4f1c", title="2 tasks", summary="pending", text="state")


def test_it_is_open_first_and_concluded_last(api: GitHubApi, hub: GitHubDouble) -> None:
    made = check(api)
    start(made)
    made.progress(title="1 of 2", summary="running")
    made.conclude(Conclusion.FAILURE, title="gsm8k fell", summary="table")
    (shown,) = hub.store.checks_of(SHA)
    steps = hub.store.check_history[shown["id"]]
    assert [step.get("conclusion") or step["status"] for step in steps] == ["in_progress", "in_progress", "failure"]
    assert (shown["status"], shown["conclusion"]) == ("completed", "failure")


@pytest.mark.parametrize(
    ("code", "conclusion"),
    [
        (ExitCode.PASS, Conclusion.SUCCESS),
        (ExitCode.FAIL, Conclusion.FAILURE),
        (ExitCode.USAGE, Conclusion.FAILURE),
        (ExitCode.UNMEASURABLE, Conclusion.FAILURE),
        (ExitCode.INCONCLUSIVE, Conclusion.SUCCESS),
        (ExitCode.RUNNING, None),
        (ExitCode.CANCELLED, Conclusion.CANCELLED),
    ],
)
def test_every_exit_code_has_its_conclusion(code: ExitCode, conclusion: Conclusion | None) -> None:
    assert conclusion_of(code) is conclusion


def test_nothing_ends_neutral_or_skipped() -> None:
    assert not {"neutral", "skipped", "stale"} & set(Conclusion)


@pytest.mark.parametrize("count", [0, 1, 50, 51, 120])
def test_annotations_go_fifty_at_a_time_and_the_end_comes_with_the_last(
    api: GitHubApi, hub: GitHubDouble, count: int
) -> None:
    notes = [
        Annotation(path="evals/gate.yaml", line=at + 1, title="gsm8k", message=str(at), failure=True)
        for at in range(count)
    ]
    made = check(api)
    start(made)
    made.conclude(Conclusion.FAILURE, title="t", summary="s", notes=notes)
    (shown,) = hub.store.checks_of(SHA)
    assert [note["message"] for note in hub.store.annotations[shown["id"]]] == [str(at) for at in range(count)]
    steps = hub.store.check_history[shown["id"]][1:]
    assert [step["status"] for step in steps] == ["in_progress"] * (len(steps) - 1) + ["completed"]


def test_a_re_run_takes_over_what_an_earlier_attempt_left_open(api: GitHubApi, hub: GitHubDouble) -> None:
    start(check(api))
    start(check(api))
    assert len(hub.store.checks) == 1


def test_a_re_run_after_the_end_opens_a_new_one(api: GitHubApi, hub: GitHubDouble) -> None:
    first = check(api)
    start(first)
    first.conclude(Conclusion.FAILURE, title="t", summary="s")
    start(check(api))
    assert [shown["status"] for shown in hub.store.checks_of(SHA)] == ["completed", "in_progress"]


def test_another_tools_open_check_of_the_same_name_is_not_taken(api: GitHubApi, hub: GitHubDouble) -> None:
    body = {"name": "Benchmark gate", "head_sha": SHA, "status": "in_progress", "external_id": "somebody"}
    api.post(f"/repos/{REPOSITORY}/check-runs", body)
    start(check(api))
    assert len(hub.store.checks) == 2


def test_a_lost_answer_to_its_making_makes_no_second(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("POST .*/check-runs", None, after=True)]
    made = check(api)
    start(made)
    made.conclude(Conclusion.SUCCESS, title="t", summary="s")
    assert [shown["conclusion"] for shown in hub.store.checks_of(SHA)] == ["success"]


def test_open_ones_are_found_with_their_state(api: GitHubApi) -> None:
    start(check(api))
    start(check(api, "another"))
    done = check(api, "done")
    start(done)
    done.conclude(Conclusion.SUCCESS, title="t", summary="s")
    found = find_open(api, REPOSITORY, SHA)
    assert [(one.name, one.external_id, one.text) for one in found] == [
        ("Benchmark gate", "4f1c", "state"),
        ("another", "4f1c", "state"),
    ]


def test_long_texts_are_cut_where_github_would_refuse_them(api: GitHubApi, hub: GitHubDouble) -> None:
    made = check(api)
    start(made)
    made.conclude(Conclusion.SUCCESS, title="t" * 300, summary="line\n" * OUTPUT_LIMIT)
    (shown,) = hub.store.checks_of(SHA)
    assert len(shown["output"]["summary"]) <= OUTPUT_LIMIT
    assert "cut here" in shown["output"]["summary"]


def test_without_the_right_it_says_which_line_is_missing(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError, match="checks: "):
        start(check(api))


def test_one_that_could_not_be_opened_is_made_when_github_answers_again(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("/check-runs", 502, times=6)]
    check = Check(api, hub.store.repository, name="Gate", head_sha="a" * 40)
    with pytest.raises(GitHubError):
        check.start(external_id="x", title="t", summary="s")
    hub.faults = []
    check.conclude(Conclusion.FAILURE, title="fail", summary="s")
    (made,) = hub.store.checks_of("a" * 40)
    assert (made["status"], made["conclusion"], made["external_id"]) == ("completed", "failure", "nel-action:x")


def test_progress_is_left_out_rather_than_waited_for(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper) -> None:
    made = check(api)
    start(made)
    hub.faults = [Fault("PATCH .*/check-runs", 403, "You have exceeded a secondary rate limit", {"Retry-After": "60"})]
    with pytest.raises(GitHubError):
        made.progress(title="1 of 2", summary="running")
    assert sleeper.slept == []
    hub.faults = [Fault("PATCH .*/check-runs", 403, "You have exceeded a secondary rate limit", {"Retry-After": "60"})]
    made.conclude(Conclusion.SUCCESS, title="pass", summary="s")
    assert sleeper.slept == [60.0], "a verdict is waited for"
