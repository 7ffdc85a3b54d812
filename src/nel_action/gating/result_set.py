"""The results of a run with access to the items behind each score."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from nel_action.errors import ResultsError
from nel_action.gating import messages
from nel_action.gating.items import read_items
from nel_action.model.results import Results, TaskResult
from nel_action.model.unmeasurable import Unmeasurable
from nel_action.statistics.items import Items

__all__ = ["ResultSet"]


@dataclass(frozen=True, slots=True)
class ResultSet:
    """The results of one run and a reader for the items of each task, independent of the file format."""

    results: Results
    items: Callable[[TaskResult, str], Items | None]
    """Read a task's items for a metric; None if there are none. Raises ResultsError if they are incomplete."""
    name: str
    """Name of the run in reports."""
    parts: Callable[[Collection[str]], Sequence[TaskResult]] | None = None
    """Read the results of these tasks of groups, which are judged only if the policy names them."""
    root: Path | None = None
    """Directory of `results.json`, if there is one; the report reads the answers of both runs from there."""
    digest: str | None = None
    """Digest of the files, for a baseline that was resolved at submission."""

    _by_task: dict[str, list[TaskResult]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Index the results, of which there may be hundreds."""
        for result in self.results.tasks:
            self._by_task.setdefault(result.task, []).append(result)

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

    def with_tasks(self, names: Collection[str]) -> ResultSet:
        """Return the run with those of these tasks that belong to a group with a score of its own."""
        known = {result.task for result in self.results.tasks}
        added = self.parts(set(names) - known) if self.parts is not None else ()
        if not added:
            return self
        return replace(self, results=self.results.model_copy(update={"tasks": (*self.results.tasks, *added)}))

    def of_task(self, task: str) -> list[TaskResult]:
        """Return the task's results, one for each model."""
        return list(self._by_task.get(task, ()))

    def counterpart(self, result: TaskResult, candidate: ResultSet) -> TaskResult | Unmeasurable:
        """Return this run's result of the same task and model.

        If each run has a single model of the task, these two correspond even under different names.

        Args:
            result: a result of the candidate.
            candidate: the run that `result` belongs to.
        """
        own, others = self.of_task(result.task), candidate.of_task(result.task)
        same_model = [other for other in own if other.model == result.model]
        if len(same_model) > 1 or sum(other.model == result.model for other in others) > 1:
            return Unmeasurable(messages.DUPLICATE_RESULTS)
        if same_model:
            return same_model[0]
        if len(own) == 1 and len(others) == 1:
            return own[0]
        return Unmeasurable(messages.no_counterpart(result.model if own else None))
