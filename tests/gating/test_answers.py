"""Health of the answers: the default for unanswered requests, and the limits of a policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.gate_results import judge_results, make_results, make_run, make_task

from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import Health

FLOOR = {"min": 0.5}


def judged(limits: dict[str, float] | None, **counts: int) -> GateReport:
    health = Health.model_validate({"requests": 200, **counts}) if counts else None
    policy = {"defaults": FLOOR | ({"limits": limits} if limits else {})}
    return judge_results(make_results(make_task(health=health)), policy)


def test_more_than_one_percent_and_more_than_one_unanswered_request_is_unmeasurable() -> None:
    assert judged(None, unanswered=2).verdict is Verdict.PASS
    assert judged(None, unanswered=1, requests=10).verdict is Verdict.PASS
    report = judged(None, unanswered=3)
    assert report.verdict is Verdict.UNMEASURABLE
    assert report.reasons == (
        "gsm8k: 3 of 200 requests were not answered (1.5 %, more than 1 %); run it again, or state limits.unanswered",
    )


def test_answers_that_were_not_measured_are_not_judged_by_the_default() -> None:
    assert judged(None).verdict is Verdict.PASS


def test_a_stated_limit_replaces_the_default() -> None:
    assert judged({"unanswered": 0.05}, unanswered=9).verdict is Verdict.PASS
    report = judged({"unanswered": 0.05}, unanswered=11)
    assert report.verdict is Verdict.FAIL
    assert report.reasons == ("gsm8k: 5.5 % of the requests were unanswered, more than the allowed 5 %",)


@pytest.mark.parametrize("name", ["empty", "cut", "filtered", "retried"])
def test_each_share_can_be_limited(name: str) -> None:
    assert judged({name: 0.1}, **{name: 20}).verdict is Verdict.PASS
    assert judged({name: 0.1}, **{name: 21}).verdict is Verdict.FAIL
    assert judged(None, **{name: 200}).verdict is Verdict.PASS


def test_latency_is_limited_by_its_95th_percentile() -> None:
    assert judged({"latency_p95_ms": 100}, latency_p95_ms=100).verdict is Verdict.PASS
    assert judged({"latency_p95_ms": 100}, latency_p95_ms=101).verdict is Verdict.FAIL


@pytest.mark.parametrize("name", ["unanswered", "cut", "latency_p95_ms"])
def test_a_limit_on_answers_that_were_not_measured_is_unmeasurable(name: str) -> None:
    report = judged({name: 0.5})
    assert report.verdict is Verdict.UNMEASURABLE
    assert "the answers were not measured" in report.reasons[0]


def test_a_baseline_whose_answers_are_missing_is_no_baseline(tmp_path: Path) -> None:
    half = Health(requests=200, unanswered=100)
    baseline = make_run(tmp_path / "baseline", [1.0] * 100 + [0.0] * 100, health=half)
    candidate = make_run(tmp_path / "candidate", [1.0] * 120 + [0.0] * 80)
    for limits, verdict in ((None, Verdict.UNMEASURABLE), ({"unanswered": 0.5}, Verdict.PASS)):
        measured = candidate.results.tasks[0].model_copy(update={"health": Health(requests=200)})
        results = candidate.results.model_copy(update={"tasks": (measured,)})
        policy = {"defaults": {"max_drop": 0.05} | ({"limits": limits} if limits else {})}
        report = judge_results(results, policy, baseline=baseline, root=tmp_path / "candidate")
        assert report.verdict is verdict, report.reasons
