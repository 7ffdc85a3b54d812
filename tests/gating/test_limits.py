"""The table of limits: complete, and a new row needs only a field and, for a new rule, a method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from tests.support.gate_results import make_run

from nel_action.formatting import Unit
from nel_action.gating import messages
from nel_action.gating.judge import judge_result_set
from nel_action.gating.limits import RULES, Measured, RunScore
from nel_action.gating.result_set import ResultSet
from nel_action.gating.trend import TrendEntry, judge_trend, trend_entries
from nel_action.gating.verdict import GateReport, LimitTest, Verdict
from nel_action.model.unmeasurable import Unmeasurable
from nel_action.spec.introspection import field_docs
from nel_action.spec.limits import LIMITS, OBSERVED, Limit, LimitUnit, Rule
from nel_action.spec.policy import GatePolicy, TaskPolicy, UsageLimits
from nel_action.spec.schema import json_schema
from nel_action.statistics.estimates import Negated, StudentMean
from nel_action.statistics.relative import RelativeLoss

MAX_GAIN = Limit(
    key="max_gain",
    rule="gain",  # type: ignore[arg-type]
    unit=LimitUnit.CHANGE,
    is_minimum=False,
    needs_baseline=True,
    description="Largest plausible gain.",
    failed="{change}, more than the plausible {limit}",
    passed="{change}; a gain of more than {limit} is ruled out",
    inconclusive="{change}; a gain of more than {limit} is neither shown nor ruled out",
    ge=0,
)
"""A limit with a rule of its own."""


class GainRule:
    """Method of a limit against implausible gains, such as those of leaked test data."""

    def test(self, limit: Limit, stated: float, measured: Measured) -> LimitTest | Unmeasurable:
        assert measured.comparison is not None
        gain = measured.comparison.gain
        return LimitTest(
            limit=limit,
            stated=stated,
            evidence=Negated(gain.evidence),
            threshold=-stated,
            alpha=measured.alpha,
            value=gain.evidence.estimate,
            n=gain.n,
        )

    def excess(self, limit: Limit, stated: float, run: RunScore) -> float:  # noqa: ARG002 - the interface of all rules
        return -run.loss - stated


class ExtendedPolicy(TaskPolicy):
    """A policy with the new limit."""

    max_gain: Annotated[float, MAX_GAIN] | None = None


@pytest.fixture
def _new_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, MAX_GAIN.key, MAX_GAIN)
    monkeypatch.setitem(RULES, MAX_GAIN.rule, GainRule())


def judge(tmp_path: Path, policy: GatePolicy, *, better: int) -> tuple[GateReport, ResultSet]:
    baseline = make_run(tmp_path / "a", [1.0] * 100 + [0.0] * 100)
    candidate = make_run(tmp_path / "b", [1.0] * (100 + better) + [0.0] * (100 - better))
    return judge_result_set(candidate, policy=policy, baseline=baseline, expected=["gsm8k"]), candidate


@pytest.mark.usefixtures("_new_limit")
def test_new_limit_is_validated_judged_and_reported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        ExtendedPolicy(max_gain=-0.1)
    policy = GatePolicy(defaults=ExtendedPolicy(max_gain=0.1))
    assert policy.defaults.needs_baseline
    report, _ = judge(tmp_path, policy, better=60)
    assert report.reasons == ("gsm8k: rose 30 pp, more than the plausible 10 pp",)
    assert report.tasks[0].failed == ("max_gain",)
    plausible, _ = judge(tmp_path, policy, better=2)
    assert plausible.verdict is Verdict.PASS


@pytest.mark.usefixtures("_new_limit")
def test_new_limit_is_part_of_the_trend(tmp_path: Path) -> None:
    policy = GatePolicy(defaults=ExtendedPolicy(max_gain=0.1))
    report, candidate = judge(tmp_path, policy, better=60)
    (entry,) = trend_entries(candidate.results, report, policy, fixed=True)
    assert entry.limits == {"max_gain": 0.1}
    assert judge_trend([entry] * 40).regressed
    assert not judge_trend([TrendEntry.model_validate({**entry.model_dump(), "value": 0.5})] * 40).regressed


@pytest.mark.usefixtures("_new_limit")
def test_new_limit_is_documented() -> None:
    assert field_docs(ExtendedPolicy)["max_gain"] == "Largest plausible gain."


def test_every_row_is_a_field_of_the_policy() -> None:
    fields = {**TaskPolicy.model_fields, **UsageLimits.model_fields}
    for key, limit in LIMITS.items():
        model = UsageLimits if limit.rule in OBSERVED else TaskPolicy
        assert field_docs(model)[key] == limit.description
    settings = {"metric", "direction", "tier", "floor", "bounds", "limits", "confidence", "on_inconclusive", "allow"}
    assert fields.keys() - settings == LIMITS.keys()


def test_every_rule_has_a_method_or_needs_no_statistics() -> None:
    assert set(Rule) == RULES.keys() | {Rule.ITEMS, Rule.USAGE, Rule.HEALTH}


def test_schema_contains_range_and_description_of_limits() -> None:
    definitions = json_schema()["$defs"]
    drop: dict[str, Any] = definitions["TaskPolicy"]["properties"]["max_relative_drop"]
    assert {"type": "number", "minimum": 0, "exclusiveMaximum": 1} in drop["anyOf"]
    assert drop["description"] == LIMITS["max_relative_drop"].description
    assert definitions["UsageLimits"]["properties"]["error_rate"]["anyOf"][0]["maximum"] == 1


@pytest.mark.parametrize("limit", [limit for limit in LIMITS.values() if limit.rule in RULES], ids=lambda row: row.key)
def test_reason_names_figures_for_every_verdict(limit: Limit) -> None:
    def reason(verdict: Verdict) -> str:
        test = LimitTest(
            limit=limit,
            stated=0.02,
            evidence=StudentMean(-0.05, 0.01),
            threshold=-0.02,
            alpha=0.05,
            value=-0.05,
            n=100,
            relative_loss=RelativeLoss(0.0667, (0.05, 0.09)),
        )
        return messages.limit_reason(test, verdict, Unit.PROPORTION, higher=True, to_settle=1234)

    assert len({reason(verdict) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)}) == 3
    assert reason(Verdict.INCONCLUSIVE).endswith("; 1,240 items would settle it")
    assert "{" not in reason(Verdict.FAIL)
    assert "2" in reason(Verdict.FAIL)


def test_usage_is_shown_in_the_unit_of_its_limit() -> None:
    values = {"error_rate": 0.025, "seconds": 130.0, "prompt_tokens": 12_000.0, "latency_ms": 80.5, "cost_usd": 2.5}
    reasons = {key: messages.usage_reason(LIMITS[key], value / 2, value) for key, value in values.items()}
    assert reasons == {
        "error_rate": "error_rate is 2.5 %, more than the allowed 1.25 %",
        "seconds": "seconds is 2m10s, more than the allowed 1m05s",
        "prompt_tokens": "prompt_tokens is 12,000 tokens, more than the allowed 6,000 tokens",
        "latency_ms": "latency_ms is 80.5 ms, more than the allowed 40.25 ms",
        "cost_usd": "cost_usd is 2.5 USD, more than the allowed 1.25 USD",
    }


def test_health_is_shown_as_a_share_of_the_requests() -> None:
    assert (
        messages.usage_reason(LIMITS["cut"], 0.1, 0.25) == "25 % of the requests were cut, more than the allowed 10 %"
    )
    reason = messages.usage_reason(LIMITS["latency_p95_ms"], 100, 250)
    assert reason == "latency_p95_ms is 250 ms, more than the allowed 100 ms"
