"""Faults between a client and a double; shared by the doubles of Lepton and Kubernetes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Fault", "next_fault"]


@dataclass(slots=True)
class Fault:
    """What happens to matching requests instead of a normal response."""

    pattern: str
    """Regular expression, searched in `METHOD /jobs?…`: the path after the workspace."""
    status: int | None = 500
    """Status of the response; None closes the connection without one."""
    message: str = "injected"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    """Number of requests that are affected."""
    skip: int = 0
    """Number of matching requests that are processed normally before."""
    after: bool = False
    """Process the request first: only its response is lost."""
    silent: bool = False
    """Do not respond until the client gives up or the double closes: a timeout."""
    cut: int | None = None
    """Process the request, send only this many bytes of the response, and close the connection."""

    @property
    def processes_request(self) -> bool:
        """Whether the request is processed."""
        return self.after or self.cut is not None


def next_fault(faults: list[Fault], request: str) -> Fault | None:
    """Return the fault that applies to a request, and count the request."""
    for fault in faults:
        if not fault.times or not re.search(fault.pattern, request):
            continue
        if fault.skip:
            fault.skip -= 1
            return None
        fault.times -= 1
        return fault
    return None
