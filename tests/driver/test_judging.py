from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.evaluations import Evaluation, letters
from tests.support.gate_reports import make_results
from tests.support.scenarios import Scenario, install

from nel_action.driver.events import Exported, Judged, Reported
from nel_action.driver.judging import judge
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import ExitCode
from nel_action.model.results import write_results
from nel_action.report.model import Link, Report
from nel_action.report.store import load_report
from nel_action.spec.policy import GatePolicy


def reported(evaluation: Evaluation, **changes: object) -> Report:
    (report,) = [event.report for event in evaluation.evaluate(**changes) if isinstance(event, Reported)]
    return report


def test_notes_of_the_rules_follow_those_of_the_gate(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(), tmp_path)
    policy = GatePolicy.model_validate({"tasks": {"alpha": {"min": 0.5}}, "confirm": {}})
    rules = Rules(policy=policy, expected=("alpha",), folder=tmp_path, notes=("the policy is that of main",))
    report = reported(evaluation, rules=rules)
    assert report.gate.notes[-1] == "the policy is that of main"
    assert json.loads((evaluation.run_dir / "gate.json").read_bytes())["notes"] == list(report.gate.notes)


def test_rules_require_results_of_tasks_that_the_spec_does_not_have(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(), tmp_path)
    rules = Rules(policy=None, expected=("alpha", "removed"), folder=tmp_path)
    (judged,) = [event for event in evaluation.evaluate(rules=rules) if isinstance(event, Judged)]
    assert judged.code is ExitCode.UNMEASURABLE
    assert any("removed" in reason for reason in judged.gate.reasons)


def test_metadata_describes_the_run(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(), tmp_path)
    metadata = reported(evaluation).metadata
    assert (metadata.executor, metadata.run_dir) == ("local", evaluation.run_dir)
    assert metadata.spec_path == str(evaluation.spec)
    assert metadata.ended == "2026-01-01T00:00:05Z"
    # NOTE: the scripted jobs ended before the invocation began, as reused ones do.
    assert metadata.seconds is None
    assert metadata.history == ()


def test_history_lists_reused_and_repeated_attempts(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(tasks=("alpha", "beta"), rejected=("beta",)), tmp_path)
    evaluation.submit()
    evaluation.executor.rejected.clear()
    evaluation.executor.scenario = Scenario(tasks=("alpha", "beta"))
    (report,) = [event.report for event in evaluation.follow(retry=True) if isinstance(event, Reported)]
    assert [event.text for event in report.metadata.history] == ["beta: attempt 2"]
    report = reported(evaluation)
    assert [event.text for event in report.metadata.history] == [
        "alpha: attempt 1 of an earlier invocation was reused",
        "beta: attempt 2 of an earlier invocation was reused",
    ]


def test_report_is_completed_before_it_is_written_and_the_verdict_stays(tmp_path: Path) -> None:
    evaluation = Evaluation(Scenario(scores={1234: 0.2}), tmp_path)

    def complete(report: Report) -> Report:
        assert (evaluation.run_dir / "gate.json").is_file()
        links = (Link("workflow run", "https://ci.example/1"),)
        gate = report.gate.model_copy(update={"reasons": ("redacted",)})
        return replace(report, gate=gate, metadata=replace(report.metadata, links=links))

    report = reported(evaluation, complete=complete)
    assert load_report(evaluation.run_dir).metadata.links == report.metadata.links != ()
    assert load_report(evaluation.run_dir).gate.reasons == ("redacted",)
    assert json.loads((evaluation.run_dir / "gate.json").read_bytes())["reasons"] != ["redacted"]


def test_destinations_of_the_surroundings_replace_those_of_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(Scenario(export="complete"), monkeypatch)
    evaluation = Evaluation(Scenario(export="complete"), tmp_path)
    events = evaluation.evaluate(exports=("one", "two"))
    assert [event.destination for event in events if isinstance(event, Exported)] == ["one", "two"]
    assert letters(evaluation.evaluate(exports=())).endswith("JR")
    assert letters(evaluation.evaluate(may_export=False)).endswith("JR")


def test_a_failed_export_does_not_prevent_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evaluation = Evaluation(Scenario(), tmp_path)
    events = [event for event in evaluation.evaluate(exports=("unknown", "local")) if isinstance(event, Exported)]
    failed, complete = events
    assert failed.outcome is None
    assert "no exporter 'unknown'" in failed.problems[0]
    assert complete.outcome is not None
    assert complete.problems == ()
    assert (tmp_path / "nel-action-results" / "processed_results.json").is_file()


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Return a directory with results that another machine measured."""
    write_results(make_results(0.8), tmp_path / "foreign" / "results.json")
    return tmp_path / "foreign"


def test_judge_applies_the_rules_to_foreign_results(foreign: Path) -> None:
    policy = GatePolicy.model_validate({"tasks": {"gsm8k": {"min": 0.9}}})
    rules = Rules(policy=policy, expected=("gsm8k",), folder=foreign, notes=("not measured here",))
    events = list(judge(make_results(0.8), foreign, Surroundings(home=foreign, environ={}, rules=rules)))
    assert letters(iter(events)) == "JR"
    judged, report = events
    assert isinstance(judged, Judged)
    assert isinstance(report, Reported)
    assert (judged.code, judged.gate.notes[0]) == (ExitCode.FAIL, "not measured here")
    assert json.loads((foreign / "gate.json").read_bytes())["verdict"] == "fail"
    assert report.report.metadata.run_dir == foreign
    assert (foreign / "report.html").is_file()


def test_judge_without_rules_requires_only_complete_results(foreign: Path) -> None:
    judged = next(judge(make_results(0.1), foreign, Surroundings(home=foreign, environ={})))
    assert isinstance(judged, Judged)
    assert judged.code is ExitCode.PASS


def test_judge_exports_only_to_the_destinations_of_the_surroundings(foreign: Path) -> None:
    around = Surroundings(home=foreign, environ={})
    assert letters(judge(make_results(), foreign, around)) == "JR"
    assert letters(judge(make_results(), foreign, replace(around, exports=("unknown",)))) == "JRX"
