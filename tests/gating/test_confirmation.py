from __future__ import annotations

from tests.support.gate_results import judge_results, make_results, make_task

from nel_action.gating.confirmation import ConfirmationRun, confirmation_notes, tasks_to_confirm, unconfirmed_reason
from nel_action.spec.policy import Confirm

TWO_TASKS = make_results(make_task("a", seconds=100), make_task("b", seconds=100))
FAILING = judge_results(TWO_TASKS, {"defaults": {"min": 0.95}})


def test_tasks_to_confirm_returns_failing_tasks_within_budget() -> None:
    assert tasks_to_confirm(FAILING, Confirm(), TWO_TASKS) == (("a", "acme-7b"), ("b", "acme-7b"))
    assert tasks_to_confirm(FAILING, Confirm(max_seconds=250), TWO_TASKS) == (("a", "acme-7b"), ("b", "acme-7b"))
    assert tasks_to_confirm(judge_results(TWO_TASKS, None), Confirm(), TWO_TASKS) == ()


def test_exceeded_budget_is_respected_and_reported() -> None:
    one_task = Confirm(max_tasks=1)
    assert tasks_to_confirm(FAILING, one_task, TWO_TASKS) == ()
    assert unconfirmed_reason(FAILING, one_task, TWO_TASKS) == "2 tasks failed; confirm.max_tasks is 1"
    short = Confirm(max_seconds=150)
    assert tasks_to_confirm(FAILING, short, TWO_TASKS) == ()
    (note,) = confirmation_notes(short, FAILING, TWO_TASKS, [])
    assert note == "the failing tasks took 200 s; confirm.max_seconds is 150; the first run decides"


def test_failure_that_another_run_cannot_change_is_not_confirmed() -> None:
    slow = judge_results(TWO_TASKS, {"defaults": {"limits": {"seconds": 10}}})
    assert slow.exit_code == 1
    assert slow.tasks[0].failed == ("limits",)
    assert tasks_to_confirm(slow, Confirm(), TWO_TASKS) == ()
    no_baseline = judge_results(TWO_TASKS, {"defaults": {"max_drop": 0.1}, "on_missing_baseline": "fail"})
    assert no_baseline.tasks[0].failed == ("baseline",)
    assert tasks_to_confirm(no_baseline, Confirm(), TWO_TASKS) == ()
    advisory = judge_results(TWO_TASKS, {"defaults": {"min": 0.95, "tier": "advisory"}})
    assert tasks_to_confirm(advisory, Confirm(), TWO_TASKS) == ()


def test_only_the_failing_model_is_confirmed() -> None:
    passing = make_task("a", model="acme-70b", scores=(make_task().scores[0].model_copy(update={"value": 0.99}),))
    both = make_results(make_task("a"), passing)
    report = judge_results(both, {"defaults": {"min": 0.9}}, expected=["a"])
    assert tasks_to_confirm(report, Confirm(), both) == (("a", "acme-7b"),)


def test_confirmation_notes_state_the_effect_of_each_second_run() -> None:
    merged = make_results(make_task("a", runs=2), make_task("b"))
    runs = [
        ConfirmationRun("a", "acme-7b", 1235, None),
        ConfirmationRun("b", "acme-7b", 1235, "failed (time_limit)"),
    ]
    together, alone = confirmation_notes(Confirm(), FAILING, merged, runs)
    assert together == "a failed and was run a second time with seed 1235; both runs are judged together"
    assert alone == "b failed; the second run, with seed 1235, failed (time_limit); the first run decides"
    (other,) = confirmation_notes(Confirm(), FAILING, TWO_TASKS, [ConfirmationRun("a", "acme-7b", 1235, None)])
    assert "has other items or metrics" in other
    assert confirmation_notes(None, FAILING, TWO_TASKS, []) == ()
