"""A policy in a file of its own: what would stand under a spec's `gate:`."""

from __future__ import annotations

from pathlib import Path

from nel_action.errors import SpecError
from nel_action.spec.policy import GatePolicy
from nel_action.spec.source_positions import Document, Sources

__all__ = ["load_policy"]


def load_policy(path: Path) -> GatePolicy:
    """Read a policy file.

    Raises:
        SpecError: it is not there, not YAML, or no policy; all that is wrong is told, each with its place.
    """
    from nel_action.spec.validate import validate

    document = Document.read(path)
    # NOTE: read as the part of a spec that it is, so that mistakes are told as they are there, at their own places.
    sources = Sources(user=document, layers=[], overrides=[], moved=[(("gate",), ())])
    spec, problems = validate({"gate": dict(document.data)}, sources)
    if problems or spec is None or spec.gate is None:
        raise SpecError(problems)
    return spec.gate
