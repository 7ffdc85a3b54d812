"""One side of a comparison: results, and the way to each task's items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nel_action.errors import ResultsError
from nel_action.gating.items import Items, read_items
from nel_action.model.results import Results, TaskResult

__all__ = ["Run", "run_from_results"]


@dataclass(frozen=True, slots=True)
class Run:
    """Results with their items, wherever these are kept."""

    results: Results
    items: Callable[[TaskResult, str], Items | None]
    """Read a task's items for a metric; None where there are none. Raises ResultsError where they are not whole."""
    name: str
    """In words, for the report."""
    root: Path | None = None
    """Folder of its `results.json`, where it has one: there the report finds answers to show beside ours."""

    def of_task(self, task: str) -> list[TaskResult]:
        """Return the task's results, one for each model."""
        return [result for result in self.results.tasks if result.task == task]

    def counterpart(self, result: TaskResult, run: Run) -> TaskResult | str:
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


def run_from_results(results: Results, root: Path, *, name: str) -> Run:
    """Bind `results.json` to the folder that its samples' paths start from."""

    def items(result: TaskResult, metric: str) -> Items | None:
        if result.samples is None:
            return None
        path = (root / result.samples).resolve()
        # NOTE: results may come from elsewhere; they name files beside them, not any file.
        if not path.is_relative_to(root.resolve()):
            msg = f"{result.task}: samples lie outside the results' folder: {result.samples}"
            raise ResultsError(msg)
        return read_items(path, metric)

    return Run(results=results, items=items, name=name, root=root)
