"""Properties of the gate: neither order, names nor the unit of items change a verdict, and no verdict is absurd."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gate_results import make_policy, make_run

from nel_action.gating.judge import judge_result_set
from nel_action.gating.verdict import TaskVerdict, Verdict

pytestmark = pytest.mark.slow

BINARY, GRADED = (0.0, 1.0), (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[float], list[float], list[str] | None]:
    """Return the items of a baseline and of a candidate that keeps most of them, and clusters or none."""
    values = draw(st.sampled_from([BINARY, GRADED]))
    n, seed, kept = draw(st.integers(2, 120)), draw(st.integers(0, 10**6)), draw(st.sampled_from([0.5, 0.9, 1.0]))
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.ones(len(values)))
    baseline = random.choice(values, n, p=weights)
    candidate = np.where(random.random(n) < kept, baseline, random.choice(values, n))
    clusters = [f"c{row % max(2, n // 4)}" for row in range(n)] if draw(st.booleans()) else None
    return baseline.tolist(), candidate.tolist(), clusters


def judge(
    items: tuple[list[float], list[float]],
    limits: dict[str, float],
    *,
    names: list[str],
    clusters: list[str] | None,
    scale: float = 1.0,
) -> TaskVerdict:
    """Judge two runs whose items and limits are multiplied by `scale`."""
    with tempfile.TemporaryDirectory() as folder:
        baseline, candidate = (
            make_run(
                Path(folder) / side,
                {name: scale * value for name, value in zip(names, values, strict=True)},
                clusters=clusters,
            )
            for side, values in zip(("a", "b"), items, strict=True)
        )
        stated: dict[str, object] = {key: scale * value for key, value in limits.items()}
        policy = make_policy({"tasks": {"gsm8k": {**stated, "bounds": [0, scale]}}})
        report = judge_result_set(candidate, policy=policy, baseline=baseline, expected=["gsm8k"])
    return report.tasks[0]


LIMITS = st.sampled_from([{"max_drop": 0.02}, {"max_drop": 0.3}, {"min": 0.4}, {"max": 0.8}, {"min_gain": 0.05}])


@settings(max_examples=25, deadline=None)
@given(items=runs(), limits=LIMITS, seed=st.integers(0, 1000))
def test_order_names_and_unit_of_items_do_not_change_a_verdict(
    items: tuple[list[float], list[float], list[str] | None], limits: dict[str, float], seed: int
) -> None:
    before, after, clusters = items
    names = [f"q{row}" for row in range(len(before))]
    reference = judge((before, after), limits, names=names, clusters=clusters)
    order = np.random.default_rng(seed).permutation(len(before)).tolist()
    shuffled = judge(
        ([before[row] for row in order], [after[row] for row in order]),
        limits,
        names=[f"other {row * 7919 % 10007}" for row in order],
        clusters=[f"x{clusters[row]}" for row in order] if clusters else None,
    )
    percent = judge((before, after), limits, names=names, clusters=clusters, scale=100.0)
    assert reference.verdict is shuffled.verdict is percent.verdict
    for other, scale in ((shuffled, 1), (percent, 100)):
        assert reference.interval is not None
        assert other.interval is not None
        assert other.interval.low == pytest.approx(scale * reference.interval.low, abs=1e-6 * scale)
        assert other.interval.high == pytest.approx(scale * reference.interval.high, abs=1e-6 * scale)


@settings(max_examples=40, deadline=None)
@given(items=runs(), limits=LIMITS)
def test_verdict_agrees_with_the_estimate(
    items: tuple[list[float], list[float], list[str] | None], limits: dict[str, float]
) -> None:
    before, after, clusters = items
    task = judge((before, after), limits, names=[str(row) for row in range(len(before))], clusters=clusters)
    ((key, stated),) = limits.items()
    score, gain = float(np.mean(after)), float(np.mean(after) - np.mean(before))
    distance = {"max_drop": gain + stated, "min_gain": gain - stated, "min": score - stated, "max": stated - score}[key]
    if distance <= -1e-9:
        assert task.verdict is not Verdict.PASS
    if distance >= 1e-9:
        assert task.verdict is not Verdict.FAIL
