"""What may go wrong between a client and the platform."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Fault", "take"]


@dataclass(slots=True)
class Fault:
    """What to answer in place of the truth, to requests that match."""

    pattern: str
    """Matched against `METHOD /jobs?…`: the path after the workspace."""
    status: int | None = 500
    """None hangs up without an answer."""
    message: str = "injected"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    """So many requests get it."""
    skip: int = 0
    """So many matching requests are answered well before."""
    after: bool = False
    """Carry the request out first: the answer is lost, the work is done."""
    silent: bool = False
    """Never answer, until the client gives up or the double closes: a time-out."""
    cut: int | None = None
    """Answer the truth, but only so many bytes of it, and hang up."""

    @property
    def carries_out(self) -> bool:
        """Whether the platform does what was asked."""
        return self.after or self.cut is not None


def take(faults: list[Fault], request: str) -> Fault | None:
    """Return the fault that this request meets, and count it."""
    for fault in faults:
        if not fault.times or not re.search(fault.pattern, request):
            continue
        if fault.skip:
            fault.skip -= 1
            return None
        fault.times -= 1
        return fault
    return None
