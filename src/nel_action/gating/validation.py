"""Whether a task's result is all there: what is not cannot pass."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from nel_action.model.results import JobOutcome, Score, TaskResult
from nel_action.spec.policy import TaskPolicy

__all__ = ["pick_score", "what_is_missing"]

_ENDED: Final = {
    JobOutcome.FAILED: "its job failed",
    JobOutcome.CANCELLED: "its job was cancelled",
    JobOutcome.UNKNOWN: "its job's state could not be seen",
    JobOutcome.RUNNING: "its job is still running",
}


def pick_score(result: TaskResult, rules: TaskPolicy) -> Score | str:
    """Return the score that is judged, or why there is none."""
    metric = rules.metric or result.primary_metric
    if not result.scores:
        return "it has no score: nothing finite was found in its results"
    if metric is None:
        if len(result.scores) == 1:
            return result.scores[0]
        return f"its primary metric is not known; set metric to one of {_names(result)}"
    return result.score(metric) or f"it has no metric {metric!r}; {_nearest(metric, result)}"


def _names(result: TaskResult) -> str:
    names = [score.metric for score in result.scores]
    return ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")  # noqa: PLR2004 - enough to choose from


def _nearest(metric: str, result: TaskResult) -> str:
    """Name metrics alike, filters included (`exact_match` finds `exact_match,strict-match`)."""
    names = [score.metric for score in result.scores]
    near = [name for name in names if name.startswith(metric) or metric.startswith(name)]
    near += [name for name in get_close_matches(metric, names, n=3, cutoff=0.5) if name not in near]
    return f"nearest: {', '.join(near)}" if near else f"it has {_names(result)}"


def what_is_missing(result: TaskResult | None, rules: TaskPolicy) -> list[str]:
    """Say why a result cannot be judged at all; an empty list says that it can."""
    if result is None:
        return ["it has no result"]
    if result.outcome in _ENDED:
        detail = result.detail or result.reason
        return [_ENDED[result.outcome] + (f": {detail}" if detail else "")]
    if result.reason:
        return [f"its results could not be read: {result.detail or result.reason}"]
    score = pick_score(result, rules)
    return [score] if isinstance(score, str) else _items(result, score, rules)


def _items(result: TaskResult, score: Score, rules: TaskPolicy) -> list[str]:
    n = result.n_items if result.n_items is not None else score.n
    if n == 0:
        return ["no item was evaluated"]
    if n is None:
        asked = result.n_expected or rules.min_items
        return ["how many items were evaluated is not known"] if asked else []
    if result.n_expected is not None and n < result.n_expected:
        return [f"only {n:,} of {result.n_expected:,} items were evaluated"]
    if score.n is not None and score.n < n:
        return [f"{score.metric} was computed from only {score.n:,} of {n:,} items"]
    if rules.min_items is not None and n < rules.min_items:
        return [f"{n:,} items are fewer than the {rules.min_items:,} that the policy asks for"]
    return []
