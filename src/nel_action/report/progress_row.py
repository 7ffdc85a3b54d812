"""What is known of one job while it is under way."""

from __future__ import annotations

from dataclasses import dataclass

from nel_action.model.job import JobState

__all__ = ["JobRow", "items_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """What is known of one job, just now."""

    name: str
    state: JobState
    done: int | None = None
    """Items so far."""
    total: int | None = None
    started: str | None = None
    """RFC 3339, UTC; the rate is told from it."""
    ended: str | None = None
    """RFC 3339, UTC."""
    eta: float | None = None
    """Seconds left; told from the rate where not given."""
    detail: str | None = None
    """The backend's words. Untrusted text."""


def items_of(row: JobRow) -> str:
    """Write `271/400`, as far as it is known."""
    if row.done is None:
        return "" if row.total is None else f"0/{row.total}"
    return str(row.done) if row.total is None else f"{row.done}/{row.total}"
