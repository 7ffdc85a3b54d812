"""A baseline as it was resolved at submission; part of `plan.json`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PinnedBaseline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedBaseline:
    """The results that every later step of an invocation compares with."""

    reference: str
    """`gate.baseline` of the rules."""
    base: str | None
    """Branch and commit that the rules were read from; None for those of the spec itself."""
    resolved: str
    """When; RFC 3339, UTC."""
    name: str = ""
    """Name in reports."""
    path: str | None = None
    """Path on the machine that resolved it; None if the branch had no passing run."""
    source: str | None = None
    """Where other machines read it: `artifact:<id>`; None if `reference` alone determines that."""
    digest: str | None = None
    """Digest of the results with their samples."""
    commit: str | None = None
    """Commit of the results, if they contain it."""
    created: str | None = None
    """When the results were created, if they contain it; RFC 3339, UTC."""

    def belongs_to(self, reference: str, base: str | None) -> bool:
        """Return whether this is the baseline of these rules."""
        return (self.reference, self.base) == (reference, base)
