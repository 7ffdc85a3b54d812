"""Whether a result is complete, and whether two results of a task are comparable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nel_action.formats.parsing import select_primary_metric
from nel_action.gating import messages
from nel_action.model.results import MAX_UNANSWERED, JobOutcome, Score, TaskResult
from nel_action.model.unmeasurable import Unmeasurable
from nel_action.planning.fingerprint import IMAGE_DIGEST
from nel_action.spec.policy import Difference, TaskPolicy

__all__ = [
    "differences",
    "differing_default",
    "fingerprint_differences",
    "select_score",
    "validate_answers",
    "validate_result",
]

_COMPARED_FIELDS: Final = {
    Difference.HARNESS: "harness",
    Difference.HARNESS_VERSION: "harness_version",
    Difference.TASK_VERSION: "task_version",
    Difference.TASK_HASH: "task_hash",
    Difference.N_SHOT: "n_shot",
    Difference.CHAT_TEMPLATE: "chat_template",
    Difference.ITEMS: "n_items",
}


def select_score(result: TaskResult, policy: TaskPolicy) -> Score | Unmeasurable:
    """Return the score that is judged: that of the policy's metric, else of the primary or only metric.

    A metric without a finite value is a missing score and is never replaced by another one.
    """
    names = result.metrics
    if not names:
        return Unmeasurable(messages.NO_SCORE)
    metric = policy.metric or result.primary_metric or (names[0] if len(names) == 1 else None)
    if metric is not None:
        metric = select_primary_metric(metric, names)
    score = None if metric is None else result.score(metric)
    if score is not None:
        return score
    if metric in result.missing_scores:
        return Unmeasurable(messages.score_without_value(str(metric)))
    return Unmeasurable(messages.unknown_metric(metric, result))


def differing_default(candidate: TaskResult, baseline: TaskResult, policy: TaskPolicy) -> Unmeasurable | None:
    """Return that the two runs have different primary metrics and the policy names none.

    Args:
        candidate: the result under test.
        baseline: the result that it is compared with.
        policy: of the task.

    Returns:
        The reason, or None if both runs have one primary metric or the policy names it.
    """
    before, after = baseline.primary_metric, candidate.primary_metric
    if policy.metric is not None or before is None or after is None or before == after:
        return None
    return Unmeasurable(messages.differing_primary_metrics(before, after))


def validate_result(result: TaskResult | None, policy: TaskPolicy) -> Unmeasurable | None:
    """Return why a result cannot be judged; None if it is complete."""
    if result is None:
        return Unmeasurable(messages.NO_RESULT)
    if result.outcome is not JobOutcome.SUCCEEDED:
        return Unmeasurable(messages.job_outcome(result))
    if result.reason:
        return Unmeasurable(messages.unreadable_results(result))
    score = select_score(result, policy)
    if isinstance(score, Unmeasurable):
        return score
    is_stated = policy.limits is not None and policy.limits.unanswered is not None
    return _validate_items(result, score, policy) or (None if is_stated else validate_answers(result, policy))


def validate_answers(result: TaskResult, policy: TaskPolicy) -> Unmeasurable | None:
    """Return that too many requests have no answer: such items are scored as wrong, whatever the model would answer.

    Args:
        result: the result.
        policy: of the task; its limit of `unanswered` replaces the default.
    """
    health, stated = result.health, policy.limits.unanswered if policy.limits is not None else None
    tolerated = MAX_UNANSWERED if stated is None else stated
    if health is None or health.unanswered <= 1 or health.share("unanswered") <= tolerated:
        return None
    return Unmeasurable(messages.unanswered(health, tolerated))


def _validate_items(result: TaskResult, score: Score, policy: TaskPolicy) -> Unmeasurable | None:
    n = result.n_items if result.n_items is not None else score.n
    if n == 0:
        return Unmeasurable(messages.NO_ITEMS)
    if n is None:
        is_required = result.n_expected or policy.min_items
        return Unmeasurable(messages.UNKNOWN_ITEM_COUNT) if is_required else None
    if result.n_expected is not None and n < result.n_expected:
        return Unmeasurable(messages.missing_items(n, result.n_expected))
    if score.n is not None and result.n_items is not None and score.n > result.n_items:
        return Unmeasurable(messages.more_items_than_evaluated(score, result.n_items))
    if score.n is not None and score.n + score.excluded < n:
        return Unmeasurable(messages.partial_score(score, n))
    measured = n - score.excluded if score.n is None else min(n, score.n)
    if measured <= 0:
        return Unmeasurable(messages.NO_ITEMS)
    if policy.min_items is not None and measured < policy.min_items:
        return Unmeasurable(messages.too_few_items(measured, policy.min_items))
    return None


def fingerprint_differences(candidate: TaskResult, baseline: TaskResult) -> list[str] | None:
    """Return the keys and files of the benchmark in which two results differ; None if one has no fingerprint."""
    after, before = candidate.fingerprint, baseline.fingerprint
    if after is None or before is None or after.get("version") != before.get("version"):
        return None
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    if IMAGE_DIGEST not in before or IMAGE_DIGEST not in after:
        # NOTE: not every executor can tell the digest; the reference of the image is compared in any case.
        names = [name for name in names if name != IMAGE_DIGEST]
    # NOTE: the number of items has a message of its own, and a word of the task's `allow`.
    return [name for name in names if not name.endswith(".params.limit_samples")]


def differences(candidate: TaskResult, baseline: TaskResult) -> Iterator[tuple[Difference, str]]:
    """Yield each difference that makes two results incomparable, with its message; unknown differs from known."""
    for name, field in _COMPARED_FIELDS.items():
        after, before = getattr(candidate, field), getattr(baseline, field)
        if after != before:
            yield name, messages.difference(name, after, before)
    after, before = candidate.params.get("limit_samples"), baseline.params.get("limit_samples")
    if after != before:
        yield Difference.LIMIT, messages.difference(Difference.LIMIT, after, before)
