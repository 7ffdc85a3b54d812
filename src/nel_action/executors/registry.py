"""From the word in `execution.type` to the executor."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

from nel_action.errors import NotFoundError

if TYPE_CHECKING:
    from nel_action.executors.interface import Executor, Workspace
    from nel_action.spec.execution import ExecutionBase

__all__ = ["BUILT_IN", "open_executor"]

BUILT_IN = {
    "lepton": "nel_action.executors.lepton.executor:LeptonExecutor",
    "local": "nel_action.executors.local.executor:LocalExecutor",
    "slurm": "nel_action.executors.slurm.executor:SlurmExecutor",
}
"""Ours, named here because asking the installed packages takes longer than most commands."""

GROUP = "nel_action.executors"


def open_executor(settings: ExecutionBase, workspace: Workspace) -> Executor:
    """Build the executor of a spec.

    Raises:
        NotFoundError: no installed package brings one of that name.
    """
    name = str(getattr(settings, "type", ""))
    factory = _load(BUILT_IN[name]) if name in BUILT_IN else _plug_in(name)
    executor: Executor = factory(settings, workspace)  # type: ignore[operator]
    return executor


def _load(reference: str) -> object:
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


def _plug_in(name: str) -> object:
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name in found:
        return found[name].load()
    known = sorted({*BUILT_IN, *found})
    near = get_close_matches(name, known, n=1)
    msg = f"no executor '{name}'"
    raise NotFoundError(msg, hint=f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}")
