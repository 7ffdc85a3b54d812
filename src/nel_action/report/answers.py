"""The health of the model's answers in one line per task, for the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nel_action.formatting import percentage
from nel_action.model.results import Health
from nel_action.report.rows import Row

__all__ = ["answer_lines", "answer_shares"]

_SHARES: Final = ("unanswered", "empty", "cut", "filtered", "retried")


def answer_shares(health: Health) -> str:
    """Return every share of a task's answers that is not zero (`3.1 % unanswered, 0.5 % cut`); empty without any."""
    shares = (f"{percentage(health.share(name))} {name}" for name in _SHARES if getattr(health, name))
    return ", ".join(shares)


def answer_lines(rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Yield the rows whose answers were measured and not all in order, with their shares."""
    for row in rows:
        health = row.result.health if row.result is not None else None
        if health is not None and (shares := answer_shares(health)):
            yield row, shares
