from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from threading import Event as StopEvent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.evaluations import Evaluation, letters
from tests.support.scenarios import Scenario, ScriptedExecutor, install

from nel_action.driver.events import Created, Event, Exported, Extended, Judged, Left, Polled, Reported, Submitted
from nel_action.errors import ExitCode, ResultsError, UnreachableError
from nel_action.ledger import Ledger
from nel_action.model.job import Attempt, JobState, JobStatus, Key
from nel_action.planning.jobs import Job

pytestmark = pytest.mark.slow

CONFIRMED = Scenario(
    scores={1234: 0.6, 1235: 0.95},
    tasks=("alpha", "beta"),
    gate={"tasks": {"alpha": {"min": 0.72}}, "confirm": {"max_tasks": 2}},
    export="incomplete",
)
SCENARIOS = {
    "pass": Scenario(export="complete"),
    "fail": Scenario(scores={1234: 0.2}),
    "rejected": Scenario(tasks=("alpha", "beta"), rejected=("beta",)),
    "confirmed": CONFIRMED,
}


def on_disk(run_dir: Path) -> dict[str, Any]:
    """Return verdict and results without what differs between invocations."""
    gate = json.loads((run_dir / "gate.json").read_bytes())
    results = json.loads((run_dir / "results.json").read_bytes())
    tasks = [{name: value for name, value in task.items() if name != "job_id"} for task in results["tasks"]]
    return {"gate": gate, "tasks": tasks}


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_abandoned_evaluation_is_continued_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    install(SCENARIOS[name], monkeypatch)
    complete = Evaluation(SCENARIOS[name], tmp_path / "complete")
    events = list(complete.evaluate())
    for count in range(1, len(events) + 1):
        abandoned = Evaluation(SCENARIOS[name], tmp_path / str(count))
        with closing(abandoned.evaluate()) as started:  # type: ignore[type-var]
            for _ in range(count):
                next(started)
        continued = list(abandoned.follow())
        assert on_disk(abandoned.run_dir) == on_disk(complete.run_dir)
        assert sorted(abandoned.executor.started) == sorted(complete.executor.started)
        assert [event.code for event in continued if isinstance(event, Judged)] == [
            event.code for event in events if isinstance(event, Judged)
        ]
        exports = [event.problems for event in continued if isinstance(event, Exported)]
        assert exports == [event.problems for event in events if isinstance(event, Exported)]


def saved(event: Event, evaluation: Evaluation) -> None:
    """Check that everything that an event reports is on disk."""
    run_dir = evaluation.run_dir
    with Ledger(evaluation.around.home) as ledger:
        (invocation,) = ledger.invocations()
        states = {row.name: row for row in ledger.attempts(invocation.id)}
    names = [job["name"] for job in json.loads((run_dir / "plan.json").read_bytes())["jobs"]]
    match event:
        case Created():
            assert (states, evaluation.executor.started) == ({}, [])
            assert {path.name for path in run_dir.iterdir()} == {"spec.yaml", "plan.json", "invocation.json"}
        case Submitted() | Extended():
            assert set(states) == {job.name for job in event.session.invocation.plan.jobs} == set(names)
            assert all(row.submitted for row in states.values())
        case Polled(views):
            assert {view.job.name: view.state for view in views} == {name: row.state for name, row in states.items()}
        case Judged(results, gate):
            assert json.loads((run_dir / "gate.json").read_bytes()) == gate.model_dump(mode="json")
            assert json.loads((run_dir / "results.json").read_bytes())["invocation"] == results.invocation
            assert not (run_dir / "report.json").exists()
        case Reported():
            assert {"report.json", "report.md", "report.html", "junit.xml"} <= {path.name for path in run_dir.iterdir()}
        case _:
            pass


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_event_is_on_disk_when_it_is_yielded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    install(SCENARIOS[name], monkeypatch)
    evaluation = Evaluation(SCENARIOS[name], tmp_path)
    for event in evaluation.evaluate():
        saved(event, evaluation)


class RandomExecutor(ScriptedExecutor):
    """A backend whose polls return what hypothesis draws; a final state stays."""

    def __init__(self, scenario: Scenario, states: Iterator[JobState]) -> None:
        super().__init__(scenario)
        self.states = states

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        for attempt in attempts:
            identity = (attempt.key, attempt.number)
            if not self.jobs[identity].state.final:
                self.jobs[identity] = JobStatus(state=next(self.states, JobState.SUCCEEDED))
        return {attempt.key: self.jobs[attempt.key, attempt.number] for attempt in attempts}


ORDER = r"CS(P*E)?P+(L|JRX*)"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(st.sampled_from(JobState), max_size=6),
    score=st.sampled_from([0.2, 0.6, 0.9, None]),
    rejected=st.sampled_from([(), ("beta",)]),
    once=st.booleans(),
    may_export=st.booleans(),
)
def test_events_have_the_documented_order(
    tmp_path_factory: pytest.TempPathFactory,
    states: list[JobState],
    score: float | None,
    rejected: tuple[str, ...],
    once: bool,  # noqa: FBT001
    may_export: bool,  # noqa: FBT001
) -> None:
    scenario = Scenario(
        scores={1234: score, 1235: 0.9},
        tasks=("alpha", "beta"),
        rejected=rejected,
        gate={"tasks": {"alpha": {"min": 0.72}}, "confirm": {}},
        export="complete",
    )
    with pytest.MonkeyPatch.context() as patch:
        install(scenario, patch)
        evaluation = Evaluation(scenario, tmp_path_factory.mktemp("random"))
        evaluation.executor = RandomExecutor(scenario, iter(states))
        events = list(evaluation.evaluate(once=once, may_export=may_export))
        sequence = letters(iter(events))
        assert re.fullmatch(ORDER, sequence), sequence
        assert may_export or "X" not in sequence
        # NOTE: only settled jobs are followed by an extension or a verdict.
        for event, following in pairwise(events):
            if isinstance(event, Polled):
                assert event.settled is isinstance(following, Extended | Judged)
        continued = letters(evaluation.follow())
        assert re.fullmatch(ORDER.removeprefix("C"), continued), continued


class PlanReadingExecutor(ScriptedExecutor):
    """Records whether a job was in `plan.json` when it was submitted."""

    run_dirs: Path
    planned: dict[str, bool]

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        (run_dir,) = self.run_dirs.iterdir()
        keys = [entry["key"] for entry in json.loads((run_dir / "plan.json").read_bytes())["jobs"]]
        self.planned[job.name] = job.key in keys
        return super().submit(job, number, invocation)


def test_confirmation_runs_are_in_the_plan_on_disk_before_they_are_submitted(tmp_path: Path) -> None:
    evaluation = Evaluation(CONFIRMED, tmp_path)
    evaluation.executor = executor = PlanReadingExecutor(CONFIRMED)
    executor.run_dirs, executor.planned = tmp_path / "runs", {}
    list(evaluation.evaluate(may_export=False))
    assert executor.planned == {"alpha": True, "beta": True, "alpha.again": True}


class UnreachableAtConfirmation(ScriptedExecutor):
    """A backend that does not answer while confirmation runs are submitted."""

    silent = True

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        if job.repeats is not None and self.silent:
            msg = "the backend does not answer"
            raise UnreachableError(msg)
        return super().submit(job, number, invocation)


def test_unsubmitted_confirmation_runs_are_submitted_by_the_next_process(tmp_path: Path) -> None:
    evaluation = Evaluation(CONFIRMED, tmp_path)
    evaluation.executor = executor = UnreachableAtConfirmation(CONFIRMED)
    assert letters(evaluation.evaluate(may_export=False)).endswith("PPJR")
    assert on_disk(evaluation.run_dir)["gate"]["verdict"] == "fail"
    # NOTE: whoever may not submit ignores them.
    assert letters(evaluation.follow(may_export=False, may_submit=False)) == "PJR"
    executor.silent = False
    events = list(evaluation.follow(may_export=False))
    assert [type(event) for event in events[:1]] == [Submitted]
    assert on_disk(evaluation.run_dir)["gate"]["verdict"] == "pass"
    assert len(executor.started) == 3


def test_follow_without_submissions_rejects_jobs_that_were_never_submitted(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(), tmp_path)
    with closing(evaluation.evaluate()) as events:  # type: ignore[type-var]
        assert isinstance(next(events), Created)
    with pytest.raises(ResultsError, match="alpha: never submitted"):
        list(evaluation.follow(may_submit=False))
    assert evaluation.executor.started == []


def test_follow_with_retry_runs_failed_jobs_again(tmp_path: Path) -> None:
    scenario = Scenario(tasks=("alpha", "beta"), rejected=("beta",))
    evaluation = Evaluation(scenario, tmp_path)
    list(evaluation.evaluate())
    evaluation.executor.scenario = Scenario(tasks=("alpha", "beta"))
    evaluation.executor.rejected.clear()
    events = list(evaluation.follow(retry=True))
    assert [job.name for event in events if isinstance(event, Submitted) for job in event.jobs] == ["beta"]
    assert [event.code for event in events if isinstance(event, Judged)] == [ExitCode.PASS]


def test_follow_with_retry_observes_failures_first(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(), tmp_path)
    evaluation.submit()
    evaluation.executor.finish(evaluation.prepared().plan.jobs[0].key, JobState.FAILED)
    submitted = next(evaluation.follow(retry=True))
    assert isinstance(submitted, Submitted)
    assert [job.name for job in submitted.jobs] == ["alpha"]
    assert len(evaluation.executor.started) == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"once": True}, ExitCode.RUNNING),
        ({"deadline": 0.0}, ExitCode.RUNNING),
        ({"stop": None}, ExitCode.CANCELLED),
    ],
    ids=["once", "deadline", "stop"],
)
def test_waiting_ends_as_the_surroundings_say(tmp_path: Path, changes: dict[str, object], code: ExitCode) -> None:
    if "stop" in changes:
        stop = StopEvent()
        stop.set()
        changes = {"stop": stop}
    evaluation = Evaluation(Scenario(never_ends=True), tmp_path)
    events = list(evaluation.evaluate(**changes))
    assert letters(iter(events)) == "CSPL"
    assert events[-1] == Left(code)


def test_a_deadline_that_has_not_passed_lets_jobs_finish(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(), tmp_path)
    assert letters(evaluation.evaluate(deadline=time.monotonic() + 60)) == "CSPPJR"


def test_a_second_invocation_joins_the_jobs_of_the_first(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(tasks=("alpha", "beta")), tmp_path)
    evaluation.submit()
    events = list(evaluation.evaluate())
    (submitted,) = [event for event in events if isinstance(event, Submitted)]
    assert [row.name for row in submitted.joined] == ["alpha", "beta"]
    assert len(evaluation.executor.started) == 2
