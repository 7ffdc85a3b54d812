"""What the readers of other programs' files have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from nel_action.errors import NelActionError, ResultsError
from nel_action.gating.items import Collector, Items
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import JobOutcome, Results, TaskResult

__all__ = ["Records", "collect", "foreign_run", "foreign_task", "unreadable"]

_AT_ONCE: Final = 512

Records = Callable[[str], Iterable[Mapping[str, Any]] | None]
"""From a metric to a task's samples, as `results.Sample` writes them; None where it has none for that metric."""


def foreign_task(task: str, model: str, **fields: Any) -> TaskResult:  # noqa: ANN401 - fields of TaskResult
    """Return the result of a job that we did not run."""
    known = {"job_id": "-", "key": f"-{task}", "outcome": JobOutcome.SUCCEEDED}
    return TaskResult(task=task, model=model, **{**known, **fields})


def unreadable(task: str, model: str, error: NelActionError) -> TaskResult:
    """Return a result that says why there is none."""
    return foreign_task(task, model, reason="results", detail=error.problems[0].message)


def foreign_run(tasks: Mapping[str, tuple[TaskResult, Records]], *, name: str) -> ResultSet:
    """Bind tasks to their samples.

    Args:
        tasks: by name; a result and the way to its samples.
        name: what the run is called in reports.
    """
    results = Results(
        invocation="0" * 16, created="", tool_version="", tasks=tuple(result for result, _ in tasks.values())
    )

    def items(result: TaskResult, metric: str) -> Items | None:
        records = tasks[result.task][1](metric)
        return None if records is None else collect(records, metric, of=result.task)

    return ResultSet(results=results, items=items, name=name)


def collect(records: Iterable[Mapping[str, Any]], metric: str, *, of: str) -> Items:
    """Put samples into columns.

    Raises:
        ResultsError: one is not whole.
    """
    collector, source, before = Collector(metric), iter(records), 0
    try:
        while batch := list(islice(source, _AT_ONCE)):
            collector.extend(batch, before)
            before += len(batch)
        return collector.done()
    except (ValueError, OverflowError) as error:
        msg = f"the samples of {of} are not whole: {error}"
        raise ResultsError(msg) from error
