"""A set of task results with access to the items behind each score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nel_action.errors import ResultsError
from nel_action.gating.items import Items, read_items
from nel_action.model.results import Results, TaskResult

__all__ = ["ResultSet"]


@dataclass(frozen=True, slots=True)
class ResultSet:
    """The results of one run and a reader for the items of each task, independent of the file format."""

    results: Results
    items: Callable[[TaskResult, str], Items | None]
    """Read a task's items for a metric; None if there are none. Raises ResultsError if they are incomplete."""
    name: str
    """Name of the run in reports."""
    root: Path | None = None
    """Directory of `results.json`, if there is one; the report reads the answers of both runs from there."""

    @classmethod
    def from_results(cls, results: Results, root: Path, *, name: str) -> Self:
        """Create a result set from `results.json`.

        Args:
            results: the content of `results.json`.
            root: directory that the paths of the sample files are relative to.
            name: name of the run in reports.
        """

        def items(result: TaskResult, metric: str) -> Items | None:
            if result.samples is None:
                return None
            path = (root / result.samples).resolve()
            # NOTE: results may come from another machine; they must not name files outside their own directory.
            if not path.is_relative_to(root.resolve()):
                msg = f"{result.task}: the samples file is outside the results directory: {result.samples}"
                raise ResultsError(msg)
            return read_items(path, metric)

        return cls(results=results, items=items, name=name, root=root)

    def of_task(self, task: str) -> list[TaskResult]:
        """Return the task's results, one for each model."""
        return [result for result in self.results.tasks if result.task == task]

    def counterpart(self, result: TaskResult, run: ResultSet) -> TaskResult | str:
        """Return this run's result of the same task and model, or why there is none.

        A model that was renamed is found where both runs have one alone.

        Args:
            result: of another run.
            run: that run.
        """
        found = self.of_task(result.task)
        same = [one for one in found if one.model == result.model]
        ours = [one for one in run.of_task(result.task) if one.model == result.model]
        if len(same) > 1 or len(ours) > 1:
            return "it is there more than once, and which belongs to which cannot be told: give each a name of its own"
        if same:
            return same[0]
        if len(found) == 1 and len(run.of_task(result.task)) == 1:
            return found[0]
        return "the baseline has no result of this task" + (f" on {result.model}" if found else "")
