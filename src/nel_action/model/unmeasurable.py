"""The reason why something could not be measured; never a value, never zero."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Unmeasurable"]


@dataclass(frozen=True, slots=True)
class Unmeasurable:
    """Returned in place of a measurement; callers distinguish it with `isinstance`."""

    reason: str
    """One line without a full stop, for reports."""
