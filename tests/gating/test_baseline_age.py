"""Age of the baseline: `gate.max_age`."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.support.gate_reports import make_results

from nel_action.gating.judge import judge
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Report
from nel_action.report.terminal import render_terminal
from nel_action.spec.policy import GatePolicy

NOW = "2026-11-22T10:30:45Z"


def gate(created: str, max_age: str | None, limit: str = "max_drop") -> GateReport:
    """Judge equal results by a baseline of some age."""
    results = make_results()
    baseline = ResultSet.from_results(results.model_copy(update={"created": created}), Path(), name="main aaaaaaa")
    policy = GatePolicy.model_validate({"tasks": {"gsm8k": {limit: 0.2}}, "baseline": "main", "max_age": max_age})
    return judge(results, policy=policy, baseline=baseline, root=Path(), expected=["gsm8k"], compared=NOW)


@pytest.mark.parametrize(
    ("created", "max_age", "verdict"),
    [
        ("2026-11-22T10:30:45Z", "1h", Verdict.PASS),
        ("2026-11-22T09:30:45Z", "1h", Verdict.PASS),
        ("2026-11-22T09:30:44Z", "1h", Verdict.UNMEASURABLE),
        ("2026-11-21T10:30:44Z", "1d", Verdict.UNMEASURABLE),
        ("2026-11-21T10:30:45Z", "1d", Verdict.PASS),
        ("2026-11-15T10:30:44Z", "1w", Verdict.UNMEASURABLE),
        ("2020-01-01T00:00:00Z", None, Verdict.PASS),
        # NOTE: an unknown age is not young.
        ("", "4w", Verdict.UNMEASURABLE),
        ("yesterday", "4w", Verdict.UNMEASURABLE),
        ("2026-11-22", "4w", Verdict.UNMEASURABLE),
        ("2027-11-22T10:30:45Z", "4w", Verdict.UNMEASURABLE),
    ],
)
def test_baseline_that_is_too_old_is_unmeasurable(created: str, max_age: str | None, verdict: Verdict) -> None:
    report = gate(created, max_age)
    assert report.verdict is verdict
    if verdict is Verdict.UNMEASURABLE:
        assert f"gate.max_age: {max_age}; run the gate on the baseline's branch to renew it" in report.reasons[0]


def test_limits_without_a_baseline_do_not_depend_on_its_age() -> None:
    assert gate("2020-01-01T00:00:00Z", "1d", limit="min").verdict is Verdict.PASS


@pytest.mark.parametrize("value", ["30", "0d", "1.5d", "-1d", "1y", "1d\n", ""])
def test_age_without_a_valid_unit_is_rejected(value: str) -> None:
    with pytest.raises(ValidationError):
        GatePolicy.model_validate({"max_age": value})


def test_comment_and_terminal_show_commit_and_age_of_the_baseline() -> None:
    report = Report(results=make_results(), gate=gate("2026-11-10T10:30:45Z", None))
    shown = "main aaaaaaa (commit aaaaaaaaaaaa, 12 days old)"
    assert f"against {shown}" in render_terminal(report)
    assert "Compared with main aaaaaaa \\(commit aaaaaaaaaaaa, 12 days old\\)." in render_markdown(report)
