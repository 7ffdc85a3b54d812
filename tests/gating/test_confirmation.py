from __future__ import annotations

from tests.support.gate_results import results, task, verdict

from nel_action.gating.confirmation import ConfirmationRun, confirmation_notes, tasks_to_confirm, why_none
from nel_action.spec.policy import Confirm

TWO = results(task("a", seconds=100), task("b", seconds=100))
FALLEN = verdict(TWO, {"defaults": {"min": 0.95}})


def test_the_failing_tasks_are_run_once_more_within_the_budget() -> None:
    assert tasks_to_confirm(FALLEN, Confirm(), TWO) == (("a", "acme-7b"), ("b", "acme-7b"))
    assert tasks_to_confirm(FALLEN, Confirm(max_seconds=250), TWO) == (("a", "acme-7b"), ("b", "acme-7b"))
    assert tasks_to_confirm(verdict(TWO, None), Confirm(), TWO) == ()


def test_the_budget_is_kept_and_said() -> None:
    few = Confirm(max_tasks=1)
    assert tasks_to_confirm(FALLEN, few, TWO) == ()
    assert "more than the 1" in (why_none(FALLEN, few, TWO) or "")
    short = Confirm(max_seconds=150)
    assert tasks_to_confirm(FALLEN, short, TWO) == ()
    (note,) = confirmation_notes(short, FALLEN, TWO, [])
    assert "took 200 s, more than the 150 s" in note
    assert "one run decides" in note


def test_what_another_run_could_not_change_is_not_run_again() -> None:
    dear = verdict(TWO, {"defaults": {"limits": {"seconds": 10}}})
    assert dear.exit_code == 1
    assert dear.tasks[0].failed == ("limits",)
    assert tasks_to_confirm(dear, Confirm(), TWO) == ()
    first = verdict(TWO, {"defaults": {"max_drop": 0.1}, "on_missing_baseline": "fail"})
    assert first.tasks[0].failed == ("baseline",)
    assert tasks_to_confirm(first, Confirm(), TWO) == ()
    advisory = verdict(TWO, {"defaults": {"min": 0.95, "tier": "advisory"}})
    assert tasks_to_confirm(advisory, Confirm(), TWO) == ()


def test_only_the_model_that_failed_is_run_again() -> None:
    other = task("a", model="acme-70b", scores=(task().scores[0].model_copy(update={"value": 0.99}),))
    both = results(task("a"), other)
    report = verdict(both, {"defaults": {"min": 0.9}}, expected=["a"])
    assert tasks_to_confirm(report, Confirm(), both) == (("a", "acme-7b"),)


def test_the_notes_say_what_became_of_a_second_run() -> None:
    joined = results(task("a", runs=2), task("b"))
    seconds = [
        ConfirmationRun("a", "acme-7b", 1235, None),
        ConfirmationRun("b", "acme-7b", 1235, "failed (time_limit)"),
    ]
    together, alone = confirmation_notes(Confirm(), FALLEN, joined, seconds)
    assert together == "a failed and was run once more, with seed 1235: both runs are judged together"
    assert alone == "b failed; its second run, with seed 1235, failed (time_limit): the first run decides"
    (other,) = confirmation_notes(Confirm(), FALLEN, TWO, [ConfirmationRun("a", "acme-7b", 1235, None)])
    assert "did not give the same items" in other
    assert confirmation_notes(None, FALLEN, TWO, []) == ()
