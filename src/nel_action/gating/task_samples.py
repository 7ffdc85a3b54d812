"""One task's result on one side: its score, and its items where they stand for it."""

from __future__ import annotations

from dataclasses import dataclass

from nel_action.errors import ResultsError
from nel_action.gating.differences import scale_of
from nel_action.gating.items import Items
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import Score, TaskResult

__all__ = ["Side", "load_side"]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What is known of one task in one run."""

    result: TaskResult
    score: Score
    n: int | None
    """Items that the score was computed from."""
    items: Items | None = None
    """None where none were kept, or where the score is no mean of them."""
    scale: float = 1.0
    """What turns the items' mean into the score."""
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[Score, int | None]:
        """The score and its number of items."""
        return self.score, self.n


def load_side(run: ResultSet, result: TaskResult, score: Score) -> Side:
    """Read a task's items and hold them against its score.

    Raises:
        ResultsError: the items are not whole.
    """
    n = score.n if score.n is not None else result.n_items
    items = run.items(result, score.metric)
    if items is None:
        return Side(result, score, n)
    whole = result.n_items if result.n_items is not None else n
    if whole is not None and len(items) < whole and items.samples < whole:
        msg = f"its samples hold only {len(items):,} of {whole:,} items"
        raise ResultsError(msg)
    scale = scale_of(items, score)
    if scale is None:
        note = f"{score.metric} is no mean of its items, so its standard error decides"
        return Side(result, score, n, notes=(note,))
    return Side(result, score, len(items), items, scale)
