"""Results as flat records: one per score, with its provenance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from nel_action.exporters.bundle import Bundle
from nel_action.gating.verdict import TaskVerdict
from nel_action.model.results import Score, TaskResult

__all__ = ["Record", "flatten", "matches", "provenance", "records_of", "unmatched_patterns", "verdict_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One metric of one job."""

    task: TaskResult
    score: Score
    verdict: TaskVerdict | None = None
    """Set if the gate judged this metric."""


def records_of(bundle: Bundle, patterns: Sequence[str] = ()) -> Iterator[Record]:
    """Yield the scores that match any of the patterns, in the order of the results.

    Args:
        bundle: the invocation.
        patterns: `log_metrics`; none means all scores.
    """
    for task in bundle.results.tasks:
        verdict = verdict_of(bundle, task)
        for score in task.scores:
            if not patterns or any(matches(pattern, task.task, score.metric) for pattern in patterns):
                judged = verdict is not None and verdict.metric == score.metric
                yield Record(task=task, score=score, verdict=verdict if judged else None)


def verdict_of(bundle: Bundle, task: TaskResult) -> TaskVerdict | None:
    """Return the verdict on a task and model; None if it was not judged."""
    verdicts = bundle.gate.tasks if bundle.gate else ()
    return next((verdict for verdict in verdicts if (verdict.task, verdict.model) == (task.task, task.model)), None)


def unmatched_patterns(bundles: Iterable[Bundle], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns that match no metric; they are probably misspelt."""
    names = {(task.task, score.metric) for bundle in bundles for task in bundle.results.tasks for score in task.scores}
    return tuple(pattern for pattern in patterns if not any(matches(pattern, *name) for name in names))


def matches(pattern: str, task: str, metric: str) -> bool:
    """Return whether a pattern of `log_metrics` matches a metric.

    Args:
        pattern: a name, a part of a name, a glob pattern, or `task.metric`.
        task: name of the task.
        metric: name of the metric.
    """
    names = (metric, f"{task}.{metric}", f"{task}_{metric}")
    return pattern in metric or any(pattern == name or fnmatchcase(name, pattern) for name in names)


def provenance(bundle: Bundle, task: TaskResult) -> dict[str, str]:
    """Return the origin of a result: versions, digests, commit, pull request, verdict and links.

    Args:
        bundle: the invocation.
        task: result of the task.
    """
    results, metadata = bundle.results, bundle.metadata
    verdict = verdict_of(bundle, task)
    fields: dict[str, object] = {
        "invocation_id": results.invocation,
        "job_id": task.job_id,
        "key": task.key,
        "task": task.task,
        "model": task.model,
        "outcome": task.outcome.value,
        "reason": task.reason,
        "harness": task.harness,
        "harness_version": task.harness_version,
        "task_version": task.task_version,
        "task_hash": task.task_hash,
        "image": task.image,
        "environment": task.environment,
        "n_items": task.n_items,
        "executor": metadata.executor,
        "repository": results.repository,
        "commit": results.commit,
        "pull_request": metadata.pull_request,
        "spec_digest": results.spec_digest,
        "tool_version": results.tool_version,
        "verdict": verdict.verdict.value if verdict else None,
        "gate": bundle.gate.verdict.value if bundle.gate else None,
        **{f"link.{link.label}": link.url for link in metadata.links},
    }
    return {name: str(value) for name, value in fields.items() if value is not None}


def flatten(value: Any, prefix: str = "", depth: int = 10) -> dict[str, Any]:  # noqa: ANN401 - parameters of a harness
    """Flatten nested mappings to `a.b.c` names.

    Args:
        value: a mapping, or the value of `prefix`.
        prefix: name of the value.
        depth: levels at most; deeper mappings stay values.
    """
    if not isinstance(value, dict) or depth == 0:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{name}" if prefix else str(name), depth - 1)
    return flat
