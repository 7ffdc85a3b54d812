"""The model of a spec; docs/spec.md and the JSON Schema are generated from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Tag

from nel_action.model.env_ref import EnvRef
from nel_action.spec.auxiliary import AuxiliaryDeployment
from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.budget import Budget, Price
from nel_action.spec.deployment import Deployment, NoDeployment
from nel_action.spec.evaluation import Evaluation
from nel_action.spec.execution import ExecutionBase, LocalExecution
from nel_action.spec.export import Exports
from nel_action.spec.gateway import Gateway
from nel_action.spec.lepton import LeptonExecution
from nel_action.spec.policy import GatePolicy
from nel_action.spec.slurm import SlurmExecution
from nel_action.spec.target import Target

__all__ = ["EXECUTOR_TYPES", "Execution", "PluginExecution", "Spec"]


class PluginExecution(ExecutionBase):
    """An executor of a plug-in, which validates its own settings."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The plug-in's name in the entry-point group `nel_action.executors`."""


EXECUTOR_TYPES = ("local", "slurm", "lepton")
"""Types of the built-in executors."""


def _execution_tag(value: Any) -> str:  # noqa: ANN401 - raw input or a model
    kind = value.get("type", "local") if isinstance(value, dict) else getattr(value, "type", "local")
    return kind if kind in EXECUTOR_TYPES else "plugin"


Execution = Annotated[
    Annotated[LocalExecution, Tag("local")]
    | Annotated[SlurmExecution, Tag("slurm")]
    | Annotated[LeptonExecution, Tag("lepton")]
    | Annotated[PluginExecution, Tag("plugin")],
    Discriminator(_execution_tag),
]
"""Settings of an executor, distinguished by `type`."""


class Spec(SpecModel):
    """An eval spec. It contains names of variables, never their values."""

    name: str | None = None
    """A name for people; it has no effect."""
    target: Target = Target()
    """The model under test."""
    targets: dict[str, Target] = {}
    """Several models by short names, instead of `target`; the score table then has a column for each."""
    deployment: Deployment = NoDeployment()
    """How to serve the model while jobs run."""
    auxiliary_deployments: dict[str, AuxiliaryDeployment] = {}
    """Auxiliary servers, such as a judge, by name."""
    execution: Execution = LocalExecution()
    """Where jobs run."""
    evaluation: Evaluation = Evaluation()
    """What to run."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of deployments, tasks and exports."""
    gateway: Gateway | bool = True
    """The proxy between harnesses and the target: records, retries and limits; `false` switches it off."""
    prices: dict[str, Price] = {}
    """Prices by `model_id`; without one, the cost of a model is unknown."""
    budget: Budget = Budget()
    """The most that this run may pay for, divided among its jobs by their numbers of items."""
    gate: GatePolicy | None = None
    """The policy for the scores."""
    export: Exports = Exports()
    """Destinations of the results, by the exporter's name."""
