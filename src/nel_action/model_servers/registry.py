"""Lookup of model servers by the name in `deployment.type`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from nel_action.errors import NotFoundError
from nel_action.model_servers.interface import ServerType

__all__ = ["GROUP", "server_type"]

GROUP = "nel_action.deployments"
"""Entry-point group of plug-ins: name to an object that implements `ServerType`."""

_MODULES = "nel_action.model_servers"

# NOTE: listed here because scanning the installed entry points takes longer than a dry run may.
_BUILT_IN = {
    "generic": f"{_MODULES}.generic:SERVER",
    "llamacpp": f"{_MODULES}.llamacpp:SERVER",
    "nim": f"{_MODULES}.nim:SERVER",
    "sglang": f"{_MODULES}.sglang:SERVER",
    "trtllm": f"{_MODULES}.trtllm:SERVER",
    "vllm": f"{_MODULES}.vllm:SERVER",
    "vllm_ray": f"{_MODULES}.vllm:RAY_SERVER",
}


def server_type(name: str) -> ServerType:
    """Return the type of server that `deployment.type` names.

    Raises:
        NotFoundError: no installed package provides it.
    """
    if name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        built_in: ServerType = getattr(import_module(module), attribute)
        return built_in
    from importlib.metadata import entry_points

    plug_ins = entry_points(group=GROUP)
    if name in plug_ins.names:
        plug_in: ServerType = plug_ins[name].load()
        return plug_in
    known = sorted({*_BUILT_IN, *plug_ins.names})
    near = get_close_matches(name, known, n=1)
    msg = f"deployment.type: no model server '{name}' is installed"
    raise NotFoundError(msg, hint=f"did you mean '{near[0]}'?" if near else f"available: {', '.join(known)}")
