"""The reasons why something could not be measured; never a value, never zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["Unmeasurable"]


@dataclass(frozen=True, slots=True)
class Unmeasurable:
    """Returned in place of a measurement; callers distinguish it with `isinstance`."""

    reason: str
    """One line without a full stop, for reports."""
    further: tuple[str, ...] = ()
    """More reasons of the same kind."""

    @classmethod
    def because(cls, reasons: Sequence[str]) -> Self:
        """Create from one or more reasons."""
        return cls(reasons[0], tuple(reasons[1:]))

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reasons."""
        return (self.reason, *self.further)
