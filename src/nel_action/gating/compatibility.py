"""Whether two results of a task may be compared at all: asked the same, in the same way, of the same items."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from nel_action.model.results import TaskResult
from nel_action.spec.policy import Difference

__all__ = ["differences", "not_comparable"]

_FIELDS = {
    Difference.HARNESS: ("harness", "the harness"),
    Difference.HARNESS_VERSION: ("harness_version", "the harness's version"),
    Difference.TASK_VERSION: ("task_version", "the task's version"),
    Difference.TASK_HASH: ("task_hash", "the prompt or task"),
    Difference.N_SHOT: ("n_shot", "the number of examples in the prompt"),
    Difference.CHAT_TEMPLATE: ("chat_template", "the chat template"),
    Difference.ITEMS: ("n_items", "the number of items"),
}


def differences(candidate: TaskResult, baseline: TaskResult) -> Iterator[tuple[Difference, str]]:
    """Yield what differs, with a sentence for each; what only one side says counts as different."""
    for name, (field, words) in _FIELDS.items():
        ours, theirs = getattr(candidate, field), getattr(baseline, field)
        if ours != theirs:
            yield name, f"{words} differs: {_said(theirs)} in the baseline, {_said(ours)} now"
    ours, theirs = candidate.params.get("limit_samples"), baseline.params.get("limit_samples")
    if ours != theirs:
        yield (
            Difference.LIMIT,
            f"limit_samples differs: {_said(theirs, 'none')} in the baseline, {_said(ours, 'none')} now",
        )


def _said(value: object, nothing: str = "not said") -> str:
    text = nothing if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"  # noqa: PLR2004 - digests are long


def not_comparable(
    candidate: TaskResult, baseline: TaskResult, allow: Collection[Difference]
) -> tuple[list[str], list[str]]:
    """Return why two results cannot be compared, and which differences the policy lets pass.

    Args:
        candidate: the result that is judged.
        baseline: the baseline's result of the same task.
        allow: differences that do not matter.
    """
    refused, allowed = [], []
    for name, words in differences(candidate, baseline):
        if name in allow:
            allowed.append(f"{words} (allowed)")
        else:
            refused.append(f"{words}; `allow: [{name}]` lets it pass")
    return refused, allowed
