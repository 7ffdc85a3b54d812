"""Results as flat records: one for each score, with everything that says where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from nel_action.exporters.bundle import Bundle
from nel_action.gating.verdict import TaskVerdict
from nel_action.model.results import Score, TaskResult

__all__ = ["Record", "parameters", "provenance", "records_of", "unmatched_patterns", "verdict_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One metric of one job."""

    task: TaskResult
    score: Score
    verdict: TaskVerdict | None = None
    """Set where the gate judged this very metric."""


def records_of(bundle: Bundle, wanted: Sequence[str] = ()) -> Iterator[Record]:
    """List every score that `log_metrics` lets through, in the order of the results."""
    for task in bundle.results.tasks:
        judged = verdict_of(bundle, task)
        for score in task.scores:
            if not wanted or any(matches(pattern, task.task, score.metric) for pattern in wanted):
                same = judged is not None and judged.metric == score.metric
                yield Record(task=task, score=score, verdict=judged if same else None)


def verdict_of(bundle: Bundle, task: TaskResult) -> TaskVerdict | None:
    """Find what the gate said of a task on a model."""
    tasks = bundle.gate.tasks if bundle.gate else ()
    return next((one for one in tasks if (one.task, one.model) == (task.task, task.model)), None)


def unmatched_patterns(bundles: Iterable[Bundle], wanted: Sequence[str]) -> tuple[str, ...]:
    """Name the filters that no metric answers to; each is most likely a slip of the pen."""
    names = {(task.task, score.metric) for bundle in bundles for task in bundle.results.tasks for score in task.scores}
    return tuple(pattern for pattern in wanted if not any(matches(pattern, *name) for name in names))


def matches(pattern: str, task: str, metric: str) -> bool:
    """Tell whether a filter lets a metric through: by name, part of a name, pattern, or `task.metric`."""
    names = (metric, f"{task}.{metric}", f"{task}_{metric}")
    return pattern in metric or any(pattern == name or fnmatchcase(name, pattern) for name in names)


def provenance(bundle: Bundle, task: TaskResult) -> dict[str, str]:
    """Say where a result comes from: versions, digests, commit, pull request, verdict, links."""
    results, metadata = bundle.results, bundle.metadata
    judged = verdict_of(bundle, task)
    known: dict[str, object] = {
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
        "verdict": judged.verdict.value if judged else None,
        "gate": bundle.gate.verdict.value if bundle.gate else None,
        **{f"link.{link.label}": link.url for link in metadata.links},
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def parameters(value: Any, prefix: str = "", depth: int = 10) -> dict[str, Any]:  # noqa: ANN401 - a harness's own
    """Flatten a harness's parameters to `a.b.c` names, at most `depth` levels deep."""
    if not isinstance(value, dict) or depth == 0:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= parameters(inner, f"{prefix}.{name}" if prefix else str(name), depth - 1)
    return flat
