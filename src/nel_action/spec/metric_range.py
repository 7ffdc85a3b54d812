"""The range of a metric, and the limits that no score within it can violate or meet."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from nel_action.spec.limits import Limit, Rule

__all__ = ["MetricRange", "limit_range_problem", "range_of_metric", "scale_problem"]

_PROPORTIONS: Final = {
    "lm_eval": ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "prompt_level_strict_acc",
                "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc", "pass@1"),
    "bigcode-evaluation-harness": ("pass@1", "pass@10", "pass@100"),
    "lighteval": ("acc", "acc_norm", "em", "qem", "pem", "pqem", "extractive_match", "prompt_level_strict_acc",
                  "prompt_level_loose_acc", "inst_level_strict_acc", "inst_level_loose_acc"),
}  # fmt: skip
"""Metrics between 0 and 1 by the program that computes them."""
_PROGRAMS: Final = {"lm-evaluation-harness": "lm_eval"}
_PERCENT: Final = 100.0
_TIME: Final = re.compile(r"latency|duration|seconds|(?:^|[_ /])(?:time|ms|s|sec)(?:$|[_ /,])", re.IGNORECASE)
"""Names of metrics that are times."""


class MetricRange(NamedTuple):
    """Smallest and largest possible value of a metric."""

    low: float
    high: float
    stated: bool = False
    """The policy states it (`bounds`)."""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def range_of_metric(program: str | None, metric: str | None) -> MetricRange | None:
    """Return the range of a metric that a harness always computes as a proportion; None if unknown.

    Args:
        program: name of the harness (`lm_eval`), or of the program in the catalog (`lm-evaluation-harness`).
        metric: name of the metric, with or without its filter (`exact_match,strict-match`).
    """
    if program is None or metric is None:
        return None
    name = metric.partition(",")[0].partition("__")[0]
    return MetricRange(0.0, 1.0) if name in _PROPORTIONS.get(_PROGRAMS.get(program, program), ()) else None


def limit_range_problem(limit: Limit, stated: float, known: MetricRange) -> tuple[str, str] | None:
    """Return why a limit cannot decide anything within the range of its metric, and the fix; None if it can.

    Args:
        limit: row of the limit.
        stated: value of the limit in the policy.
        known: range of the metric.
    """
    text = f"{limit.key}: {stated:g}"
    if limit.rule is Rule.SCORE:
        if known.high == _PERCENT and not known.stated and 0 < stated < 1:
            return f"{text} is a fraction, but the metric is a percentage ({known})", _as_percentage(stated)
        unbroken, unmet = (
            (stated <= known.low, stated > known.high)
            if limit.is_minimum
            else (stated >= known.high, stated < known.low)
        )
    elif limit.rule is Rule.CHANGE:
        width = known.high - known.low
        unbroken, unmet = (False, stated > width) if limit.is_minimum else (stated >= width, False)
    else:
        return None
    if not unbroken and not unmet:
        return None
    effect = "violate" if unbroken else "meet"
    return f"{text}: no score within the range of the metric ({known}) can {effect} it", _fix(limit, stated, known)


def scale_problem(limit: Limit, stated: float, metric: str, low: float, high: float) -> tuple[str, str] | None:
    """Return that a limit and a metric of unknown range seem to have different scales, and the fix; else None.

    A limit of 20 passes every error rate that is a proportion, and a limit of 0.7 every percentage. Both may be meant,
    for losses or ratios; then `bounds` says so. Times have a scale that their name states.

    Args:
        limit: row of the limit.
        stated: value of the limit in the policy.
        metric: name of the metric.
        low: smallest known value of the metric: of the scores, and of the items if there are any.
        high: largest known value.
    """
    if _TIME.search(metric):
        return None
    text = f"{limit.key}: {stated:g}"
    is_floor = limit.rule is Rule.SCORE and limit.is_minimum
    if not is_floor and limit.rule in (Rule.SCORE, Rule.CHANGE) and low >= 0 and high <= 1 < stated <= _PERCENT:
        fix = f"{stated:g} % is written {stated / _PERCENT:g} with bounds: [0, 1]; otherwise state bounds of the metric"
        return f"{text} exceeds everything that was measured ({low:g} to {high:g}), as if it were a percentage", fix
    if is_floor and 0 < stated < 1 < high < stated * _PERCENT:
        fix = f"{stated * _PERCENT:g} % is written {stated * _PERCENT:g} with bounds: [0, 100]; otherwise state bounds"
        return f"{text} is a fraction, but the score {high:g} may be a percentage", fix
    return None


def _as_percentage(stated: float) -> str:
    percent = f"{stated * _PERCENT:g}"
    return f"{percent} % is written {percent}; if the value is meant as it is, set bounds: [0, 100]"


def _fix(limit: Limit, stated: float, known: MetricRange) -> str:
    """Return how the limit is probably meant."""
    if known.low == 0 and known.high == 1 and 0 < stated <= _PERCENT:
        unit = "%" if limit.rule is Rule.SCORE else "percentage points" if stated != 1 else "percentage point"
        return f"{stated:g} {unit} {'is' if unit != 'percentage points' else 'are'} written {stated / _PERCENT:g}"
    if limit.rule is Rule.SCORE:
        return f"state a value between {known.low:g} and {known.high:g}, or correct bounds"
    return f"state a value below {known.high - known.low:g}, or correct bounds"
