"""The check run: opening, progress, conclusion, and recovery of open check runs."""

from __future__ import annotations

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import Fault, GitHubDouble

from nel_action.errors import ExitCode
from nel_action.github.api import GitHubApi
from nel_action.github.check import OUTPUT_LIMIT, Annotation, Check, Conclusion, conclusion_of, find_open, gate_identity
from nel_action.github.errors import GitHubError, PermissionRefusedError

REPOSITORY = "Codertocat/Hello-World"
SHA = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"


STATE = "4f1c:digest"
GATE = gate_identity("evals/gate.yaml", "main")


def check(api: GitHubApi, name: str = "Benchmark gate", identity: str = GATE) -> Check:
    return Check(api, REPOSITORY, name=name, head_sha=SHA, identity=identity)


def start(check_run: Check) -> None:
    check_run.start(external_id=STATE, title="2 tasks", summary="pending", text="state")


def test_check_is_in_progress_until_concluded(api: GitHubApi, hub: GitHubDouble) -> None:
    check_run = check(api)
    start(check_run)
    check_run.update_progress(title="1 of 2", summary="running")
    check_run.conclude(Conclusion.FAILURE, title="gsm8k dropped", summary="table")
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
def test_conclusion_of_exit_codes(code: ExitCode, conclusion: Conclusion | None) -> None:
    assert conclusion_of(code) is conclusion


def test_conclusions_exclude_those_that_github_treats_as_passed() -> None:
    assert not {"neutral", "skipped", "stale"} & set(Conclusion)


@pytest.mark.parametrize("count", [0, 1, 50, 51, 120])
def test_annotations_are_sent_in_batches_and_last_batch_concludes(
    api: GitHubApi, hub: GitHubDouble, count: int
) -> None:
    annotations = [
        Annotation(path="evals/gate.yaml", line=index + 1, title="gsm8k", message=str(index), failure=True)
        for index in range(count)
    ]
    check_run = check(api)
    start(check_run)
    check_run.conclude(Conclusion.FAILURE, title="t", summary="s", annotations=annotations)
    (shown,) = hub.store.checks_of(SHA)
    assert [note["message"] for note in hub.store.annotations[shown["id"]]] == [str(index) for index in range(count)]
    steps = hub.store.check_history[shown["id"]][1:]
    assert [step["status"] for step in steps] == ["in_progress"] * (len(steps) - 1) + ["completed"]


def test_start_reuses_open_check_of_earlier_attempt(api: GitHubApi, hub: GitHubDouble) -> None:
    start(check(api))
    start(check(api))
    assert len(hub.store.checks) == 1


def test_start_creates_new_check_after_conclusion(api: GitHubApi, hub: GitHubDouble) -> None:
    first = check(api)
    start(first)
    first.conclude(Conclusion.FAILURE, title="t", summary="s")
    start(check(api))
    assert [shown["status"] for shown in hub.store.checks_of(SHA)] == ["completed", "in_progress"]


def test_start_ignores_open_check_of_another_tool(api: GitHubApi, hub: GitHubDouble) -> None:
    body = {"name": "Benchmark gate", "head_sha": SHA, "status": "in_progress", "external_id": "another-tool"}
    api.post(f"/repos/{REPOSITORY}/check-runs", body)
    start(check(api))
    assert len(hub.store.checks) == 2


def test_lost_answer_to_creation_creates_no_duplicate(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("POST .*/check-runs", None, after=True)]
    check_run = check(api)
    start(check_run)
    check_run.conclude(Conclusion.SUCCESS, title="t", summary="s")
    assert [shown["conclusion"] for shown in hub.store.checks_of(SHA)] == ["success"]


def test_find_open_returns_open_checks_with_state(api: GitHubApi) -> None:
    start(check(api))
    start(check(api, "another"))
    completed = check(api, "done")
    start(completed)
    completed.conclude(Conclusion.SUCCESS, title="t", summary="s")
    checks = find_open(api, REPOSITORY, SHA)
    assert [(item.name, item.external_id, item.text) for item in checks] == [
        ("Benchmark gate", STATE, "state"),
        ("another", STATE, "state"),
    ]


def test_long_title_and_summary_are_truncated(api: GitHubApi, hub: GitHubDouble) -> None:
    check_run = check(api)
    start(check_run)
    check_run.conclude(Conclusion.SUCCESS, title="t" * 300, summary="line\n" * OUTPUT_LIMIT)
    (shown,) = hub.store.checks_of(SHA)
    assert len(shown["output"]["summary"]) <= OUTPUT_LIMIT
    assert "truncated" in shown["output"]["summary"]


def test_start_without_permission_names_missing_line(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.grant(contents="read")
    with pytest.raises(PermissionRefusedError, match="checks: "):
        start(check(api))


def test_conclude_creates_check_after_failed_start(api: GitHubApi, hub: GitHubDouble) -> None:
    hub.faults = [Fault("/check-runs", 502, times=6)]
    check_run = check(api)
    with pytest.raises(GitHubError):
        check_run.start(external_id="x", title="t", summary="s")
    hub.faults = []
    check_run.conclude(Conclusion.FAILURE, title="fail", summary="s")
    (shown,) = hub.store.checks_of(SHA)
    assert (shown["status"], shown["conclusion"]) == ("completed", "failure")
    assert shown["external_id"] == f"nel-action:x:{GATE}"


def test_progress_update_does_not_wait_for_rate_limit(api: GitHubApi, hub: GitHubDouble, sleeper: Sleeper) -> None:
    check_run = check(api)
    start(check_run)
    hub.faults = [Fault("PATCH .*/check-runs", 403, "You have exceeded a secondary rate limit", {"Retry-After": "60"})]
    with pytest.raises(GitHubError):
        check_run.update_progress(title="1 of 2", summary="running")
    assert sleeper.slept == []
    hub.faults = [Fault("PATCH .*/check-runs", 403, "You have exceeded a secondary rate limit", {"Retry-After": "60"})]
    check_run.conclude(Conclusion.SUCCESS, title="pass", summary="s")
    assert sleeper.slept == [60.0], "the conclusion waits"


OTHER_GATES = [
    gate_identity("evals/other.yaml", "main"),
    gate_identity("evals/gate.yaml", "main", ["target.model=b"]),
    "",
]


@pytest.mark.parametrize("other", OTHER_GATES)
@pytest.mark.parametrize("completed", [True, False])
def test_another_gate_with_the_name_is_a_conflict_and_is_not_taken_over(
    api: GitHubApi, hub: GitHubDouble, other: str, *, completed: bool
) -> None:
    first = check(api, identity=other)
    start(first)
    if completed:
        first.conclude(Conclusion.FAILURE, title="t", summary="s")
    second = check(api)
    start(second)
    assert second.id != first.id
    message = second.conflict() or ""
    assert "two gates have the check name 'Benchmark gate'" in message
    assert "evals/gate.yaml" in message
    assert check(api, "another name").conflict() is None
    second.conclude(Conclusion.SUCCESS, title="t", summary="s")
    assert hub.store.checks[int(str(first.id))]["conclusion"] == ("failure" if completed else None)


def test_gate_is_no_conflict_with_itself(api: GitHubApi) -> None:
    first, second = check(api), check(api, identity=gate_identity("evals/gate.yaml", None))
    start(first)
    start(second)
    assert (first.conflict(), second.conflict()) == (None, None)
    assert first.id != second.id, "the base differs"


def test_completed_check_is_never_changed(api: GitHubApi, hub: GitHubDouble) -> None:
    first = check(api)
    start(first)
    second = check(api)
    start(second)
    assert second.id == first.id
    first.conclude(Conclusion.FAILURE, title="t", summary="s")
    second.conclude(Conclusion.SUCCESS, title="t", summary="s")
    assert [shown["conclusion"] for shown in hub.store.checks_of(SHA)] == ["failure", "success"]
    assert check(api).conflict() is None
    third = check(api)
    start(third)
    assert [shown["conclusion"] for shown in hub.store.checks_of(SHA)] == ["failure", "success", None]


def test_identity_contains_spec_and_base_but_no_secret_of_the_overrides() -> None:
    identity = gate_identity("evals/ü:gate.yaml", "release/1", ["target.api_endpoint.api_key=s3cret"])
    assert "release%2F1" in identity
    assert "s3cret" not in identity
    assert len(gate_identity("x" * 500, "y" * 500)) < 200
    assert gate_identity("a", "main") != gate_identity("a", "weak")
