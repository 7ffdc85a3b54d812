"""Lookup of executors by the name in `execution.type`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from nel_action.errors import NotFoundError

if TYPE_CHECKING:
    from nel_action.executors.interface import Executor, ExecutorContext
    from nel_action.spec.execution import ExecutionBase

__all__ = ["BUILT_IN", "open_executor"]

BUILT_IN = {
    "lepton": "nel_action.executors.lepton.executor:LeptonExecutor",
    "local": "nel_action.executors.local.executor:LocalExecutor",
    "slurm": "nel_action.executors.slurm.executor:SlurmExecutor",
}
"""Built-in executors; listed here because scanning the installed entry points takes longer than most commands."""

GROUP = "nel_action.executors"


def open_executor(settings: ExecutionBase, context: ExecutorContext) -> Executor:
    """Construct the executor that a spec names.

    Raises:
        NotFoundError: no installed package provides an executor of that name.
    """
    name = settings.type
    factory = _load(BUILT_IN[name]) if name in BUILT_IN else _load_plug_in(name)
    executor: Executor = factory(settings, context)  # type: ignore[operator]
    return executor


def _load(reference: str) -> object:
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _load_plug_in(name: str) -> object:
    from importlib.metadata import entry_points

    plug_ins = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in plug_ins:
        return plug_ins[name].load()
    known = sorted({*BUILT_IN, *plug_ins})
    near = get_close_matches(name, known, n=1)
    msg = f"execution.type: no executor '{name}' is installed"
    raise NotFoundError(msg, hint=f"did you mean '{near[0]}'?" if near else f"available: {', '.join(known)}")
