"""The choice among executors by `type`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Tag

from nel_action.spec.execution import ExecutionBase, LocalExecution
from nel_action.spec.lepton import LeptonExecution
from nel_action.spec.slurm import SlurmExecution

__all__ = ["EXECUTOR_TYPES", "Execution", "PluginExecution"]


class PluginExecution(ExecutionBase):
    """An executor of somebody's plug-in, which checks its own settings."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The plug-in's name among the entry points `nel_action.executors`."""


EXECUTOR_TYPES = ("local", "slurm", "lepton")
"""The executors that come with nel-action."""


def _tag(value: Any) -> str:  # noqa: ANN401 - raw input or a model
    kind = value.get("type", "local") if isinstance(value, dict) else getattr(value, "type", "local")
    return kind if kind in EXECUTOR_TYPES else "plugin"


Execution = Annotated[
    Annotated[LocalExecution, Tag("local")]
    | Annotated[SlurmExecution, Tag("slurm")]
    | Annotated[LeptonExecution, Tag("lepton")]
    | Annotated[PluginExecution, Tag("plugin")],
    Discriminator(_tag),
]
"""One of the executors' settings, by `type`."""
