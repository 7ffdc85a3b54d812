"""Results for the gate's tests: short to write, complete enough to be judged."""

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

__all__ = ["results", "rule", "saved", "task", "verdict"]


def task(name: str = "gsm8k", /, **changes: object) -> TaskResult:
    """Return a result that is all there: 160 of 200 right."""
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


def results(*tasks: TaskResult) -> Results:
    """Return results of these tasks."""
    return Results(
        invocation="0123456789abcdef", created="2026-11-22T10:30:45Z", tool_version="0.1.0", tasks=tasks or (task(),)
    )


def rule(policy: Mapping[str, Any]) -> GatePolicy:
    """Return a policy as YAML would give it."""
    return GatePolicy.model_validate(policy, strict=False)


def verdict(
    candidate: Results,
    policy: Mapping[str, Any] | None,
    *,
    baseline: ResultSet | None = None,
    expected: Sequence[str] | None = None,
    root: Path = Path(),
) -> GateReport:
    """Judge, with the candidate's own tasks expected unless said."""
    names = expected if expected is not None else [result.task for result in candidate.tasks]
    rules = rule(policy) if policy is not None else None
    return judge(candidate, policy=rules, baseline=baseline, root=root, expected=names)


def saved(
    root: Path,
    items: Mapping[str, float] | Sequence[float],
    *,
    name: str = "gsm8k",
    clusters: Sequence[str] | None = None,
    **changes: object,
) -> ResultSet:
    """Write a task's items and return a run that holds them; the score is their mean."""
    named = items if isinstance(items, Mapping) else {str(place): value for place, value in enumerate(items)}
    groups: Sequence[str | None] = clusters or [None] * len(named)
    file = root / "samples" / f"{name}.jsonl.gz"
    rows = zip(named.items(), groups, strict=True)
    write_samples((Sample(id=key, scores={"acc": value}, cluster=group) for (key, value), group in rows), file)
    n, mean = len(named), sum(named.values()) / len(named)
    spread = (sum((value - mean) ** 2 for value in named.values()) / max(n - 1, 1) / n) ** 0.5
    score = Score(metric="acc", value=mean, stderr=spread, n=n, higher_is_better=True)
    fields: dict[str, object] = {
        "scores": (score,),
        "n_items": n,
        "n_expected": n,
        "samples": f"samples/{file.name}",
        **changes,
    }
    # NOTE: another folder is another run.
    identity = hashlib.sha256(str(root).encode()).hexdigest()[:16]
    found = results(task(name, **fields)).model_copy(update={"invocation": identity})
    return ResultSet.from_results(found, root, name=root.name)
