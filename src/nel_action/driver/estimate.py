"""What a plan will use, by the tokens that earlier runs of the same tasks on this machine used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nel_action.errors import ResultsError
from nel_action.gateway.spending import cost_of
from nel_action.ledger import Ledger
from nel_action.model.results import TaskResult, read_results
from nel_action.model.run_files import RunFiles
from nel_action.planning.jobs import Job, Plan
from nel_action.planning.shares import expected_requests

__all__ = ["Estimate", "estimate"]

_RUNS: Final = 100
"""Latest runs that are searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What all jobs of a plan will use."""

    requests: int
    tokens: int
    cost_usd: float | None
    """By the spec's prices; None if one is unknown."""
    sources: tuple[str, ...]
    """The invocations that the figures are from."""
    missing: tuple[str, ...]
    """Names of the jobs that no earlier run measured; they are not included."""


def estimate(plan: Plan, home: Path) -> Estimate:
    """Estimate the requests, tokens and cost of a plan, without the answers that may be replayed or reused.

    Args:
        plan: the plan.
        home: `$NEL_ACTION_HOME`; nothing is written to it.
    """
    earlier = list(_measured(home))
    requests = tokens = 0
    cost: float | None = 0.0
    sources: list[str] = []
    missing: list[str] = []
    for job in plan.jobs:
        latest = next(((run, task) for run, task in earlier if _is_same(job, task)), None)
        if latest is None or latest[1].used is None:
            missing.append(job.name)
            continue
        run, task = latest
        used = task.used
        assert used is not None  # noqa: S101 checked above
        scale = _scale(job, task)
        requests += round(scale * used.requests)
        tokens += round(scale * (used.prompt_tokens + used.completion_tokens))
        dollars = cost_of(used.model_dump(), job.limits.prices)
        cost = None if cost is None or dollars is None else cost + scale * dollars
        sources.append(run)
    return Estimate(
        requests=requests,
        tokens=tokens,
        cost_usd=cost if sources else None,
        sources=tuple(dict.fromkeys(sources)),
        missing=tuple(missing),
    )


def _measured(home: Path) -> Iterator[tuple[str, TaskResult]]:
    """Yield the results whose tokens are known, the newest first, with their invocations."""
    if not (home / "ledger.db").is_file():
        return
    with Ledger(home) as ledger:
        invocations = ledger.invocations()[:_RUNS]
    for invocation in invocations:
        try:
            results = read_results(RunFiles(invocation.run_dir).results)
        except ResultsError:
            continue
        for task in results.tasks:
            if task.used is not None and task.used.requests and not task.used.without_usage:
                yield invocation.id, task


def _is_same(job: Job, task: TaskResult) -> bool:
    return (task.task, task.model, task.harness) == (job.task.display, job.model, job.harness)


def _scale(job: Job, task: TaskResult) -> float:
    """Return the number of items of a job in relation to that of an earlier result; 1 where one is unknown."""
    items = expected_requests(job)
    return items / task.n_items if items and task.n_items else 1.0


def describe(names: Sequence[str], most: int = 3) -> str:
    """Return the first names of a list, and the number of the others."""
    others = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + others
