"""The whole spec: what a user may write. `docs/spec.md` and the JSON Schema are made from these models."""

from __future__ import annotations

from nel_action.model.env_ref import EnvRef
from nel_action.spec.auxiliary import AuxiliaryDeployment
from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.deployment import Deployment, NoDeployment
from nel_action.spec.evaluation import Evaluation
from nel_action.spec.execution import LocalExecution
from nel_action.spec.executors import Execution
from nel_action.spec.export import Exports
from nel_action.spec.policy import GatePolicy
from nel_action.spec.target import Target

__all__ = ["Spec"]


class Spec(SpecModel):
    """An eval spec. Names of variables stand here, never their values."""

    name: str | None = None
    """A name for people; it decides nothing."""
    target: Target = Target()
    """The model under test."""
    targets: dict[str, Target] = {}
    """Several models, by a short name each, in place of `target`; the score table then has a column for each."""
    deployment: Deployment = NoDeployment()
    """How to serve the model while jobs run."""
    auxiliary_deployments: dict[str, AuxiliaryDeployment] = {}
    """Further servers, such as a judge."""
    execution: Execution = LocalExecution()
    """Where jobs run."""
    evaluation: Evaluation = Evaluation()
    """What to run."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of deployments, tasks and exports alike."""
    gate: GatePolicy | None = None
    """What the scores must show."""
    export: Exports = Exports()
    """Where results go, by the exporter's name."""
