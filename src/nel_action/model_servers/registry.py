"""Servers by name: ours from a table, other people's from entry points."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from nel_action.errors import NotFoundError
from nel_action.model_servers.interface import Server

__all__ = ["ENTRY_POINTS", "server"]

ENTRY_POINTS = "nel_action.deployments"
"""The entry-point group of other people's servers: name → an object like `Server`."""

# NOTE: a table, because looking through the entry points of everything installed takes longer than a dry run may.
_OURS = {
    name: f"nel_action.model_servers.{name}:SERVER"
    for name in ("generic", "llamacpp", "nim", "sglang", "trtllm", "vllm", "vllm_ray")
}


def server(kind: str) -> Server:
    """Return the server of a `deployment.type`.

    Raises:
        NotFoundError: there is none of that name.
    """
    if kind in _OURS:
        module, _, name = _OURS[kind].partition(":")
        found: Server = getattr(import_module(module), name)
        return found
    from importlib.metadata import entry_points

    theirs = entry_points(group=ENTRY_POINTS)
    if kind in theirs.names:
        plugged: Server = theirs[kind].load()
        return plugged
    known = sorted({*_OURS, *theirs.names})
    near = get_close_matches(kind, known, n=1)
    msg = f"there is no server '{kind}'"
    raise NotFoundError(msg, hint=f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}")
