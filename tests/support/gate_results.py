"""Small, complete results for tests of the gate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nel_action.gating.judge import judge
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport
from nel_action.model.results import JobOutcome, Results, Sample, Score, TaskResult, write_samples
from nel_action.spec.policy import GatePolicy

__all__ = ["judge_results", "make_policy", "make_results", "make_run", "make_task"]


def make_task(name: str = "gsm8k", /, **changes: object) -> TaskResult:
    """Return a complete result: 160 of 200 items are correct."""
    fields: dict[str, Any] = {
        "task": name,
        "model": "acme-7b",
        "job_id": "0123456789abcdef.0",
        "key": f"nel-{name}",
        "outcome": JobOutcome.SUCCEEDED,
        "primary_metric": "acc",
        "scores": (Score(metric="acc", value=0.8, stderr=0.02835, n=200, higher_is_better=True),),
        "n_items": 200,
        "n_expected": 200,
    }
    return TaskResult.model_validate({**fields, **changes})


def make_results(*tasks: TaskResult) -> Results:
    """Return results of these tasks, by default of one complete task."""
    return Results(
        invocation="0123456789abcdef",
        created="2026-11-22T10:30:45Z",
        tool_version="0.1.0",
        tasks=tasks or (make_task(),),
    )


def make_policy(policy: Mapping[str, Any]) -> GatePolicy:
    """Return a policy from values as YAML gives them."""
    return GatePolicy.model_validate(policy, strict=False)


def judge_results(
    candidate: Results,
    policy: Mapping[str, Any] | None,
    *,
    baseline: ResultSet | None = None,
    expected: Sequence[str] | None = None,
    root: Path = Path(),
) -> GateReport:
    """Judge results; by default exactly the candidate's tasks are expected."""
    names = expected if expected is not None else [result.task for result in candidate.tasks]
    validated = make_policy(policy) if policy is not None else None
    return judge(candidate, policy=validated, baseline=baseline, root=root, expected=names)


def make_run(
    root: Path,
    items: Mapping[str, float] | Sequence[float],
    *,
    name: str = "gsm8k",
    clusters: Sequence[str] | None = None,
    higher: bool | None = True,
    **changes: object,
) -> ResultSet:
    """Write the items of a task and return a run with them; its score is their mean.

    Args:
        root: directory of the run.
        items: score of each item, with or without its id.
        name: name of the task.
        clusters: cluster of each item.
        higher: whether larger scores are better.
        changes: other fields of the result.
    """
    by_id = items if isinstance(items, Mapping) else {str(index): value for index, value in enumerate(items)}
    item_clusters: Sequence[str | None] = clusters or [None] * len(by_id)
    file = root / "samples" / f"{name}.jsonl.gz"
    rows = zip(by_id.items(), item_clusters, strict=True)
    write_samples((Sample(id=key, scores={"acc": value}, cluster=cluster) for (key, value), cluster in rows), file)
    n, mean = len(by_id), sum(by_id.values()) / len(by_id)
    stderr = (sum((value - mean) ** 2 for value in by_id.values()) / max(n - 1, 1) / n) ** 0.5
    score = Score(metric="acc", value=mean, stderr=stderr, n=n, higher_is_better=higher)
    fields: dict[str, object] = {
        "scores": (score,),
        "n_items": n,
        "n_expected": n,
        "samples": f"samples/{file.name}",
        **changes,
    }
    # NOTE: each directory is a run of its own.
    invocation = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    results = make_results(make_task(name, **fields)).model_copy(update={"invocation": invocation})
    return ResultSet.from_results(results, root, name=root.name)
