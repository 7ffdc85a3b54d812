"""DGX Cloud Lepton: where jobs run there, and how it serves a model. The keys are those of NeMo Evaluator Launcher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.base import Free, SpecModel
from nel_action.spec.execution import ExecutionBase

__all__ = [
    "LeptonConfig",
    "LeptonEvaluationTasks",
    "LeptonExecution",
    "LeptonModelCache",
    "LeptonMount",
    "LeptonPlatform",
    "LeptonServing",
    "LeptonTasks",
    "LeptonToken",
    "LeptonValue",
    "LeptonValueSource",
]

Seconds = Annotated[float, Field(gt=0)]


class LeptonValueSource(SpecModel):
    """Where the platform takes a value from."""

    secret_name_ref: str | None = None
    """Name of a secret of the workspace."""
    token_name_ref: str | None = None
    """Name of a token of the workspace."""


class LeptonValue(SpecModel):
    """A value that the platform fills in."""

    value_from: LeptonValueSource
    """Its source."""


class LeptonToken(SpecModel):
    """A token that an endpoint accepts."""

    value: str | None = None
    """The token itself; `value_from` keeps it out of the spec."""
    value_from: LeptonValueSource | None = None
    """Its source."""


class LeptonMount(SpecModel):
    """A shared file system in a container."""

    source: Annotated[str | None, Field(alias="from")] = None
    """The volume (`node-nfs:NAME`)."""
    path: str
    """Folder of the volume."""
    mount_path: str
    """Where the container sees it."""


class LeptonModelCache(SpecModel):
    """Where an endpoint keeps the model."""

    enabled: bool = False
    """Mount it at all."""
    cache_path: str | None = None
    """Folder of the volume."""
    mount_path: str | None = None
    """Where the container sees it."""


class LeptonConfig(SpecModel):
    """An endpoint that serves the model."""

    endpoint_name: str | None = None
    """Beginning of the endpoint's name."""
    resource_shape: str | None = None
    """The machine (`gpu.1xh200`)."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Smallest number of replicas."""
    max_replicas: Annotated[int, Field(gt=0)] = 1
    """Largest number of replicas."""
    api_token: str | None = None
    """A token that it accepts; `api_tokens` keeps it out of the spec."""
    api_tokens: tuple[LeptonToken, ...] = ()
    """Tokens that it accepts."""
    auto_scaler: Free = {}
    """Passed on whole to the platform."""
    health: Free = {}
    """Passed on whole to the platform."""
    envs: dict[str, str | LeptonValue] = {}
    """Variables of the server; secrets by `value_from`."""
    mounts: LeptonModelCache = LeptonModelCache()
    """Where the model is kept."""


class LeptonEvaluationTasks(SpecModel):
    """The machine that a harness runs on."""

    resource_shape: str = "cpu.small"
    """The machine."""
    timeout: Seconds = 3600
    """Seconds for one task."""
    use_shared_storage: bool = True
    """Leave results on the mounted volume."""


class LeptonServing(SpecModel):
    """What all endpoints have in common."""

    node_group: str | None = None
    """Where endpoints run."""
    endpoint_readiness_timeout: Seconds = 1200
    """Seconds that an endpoint has to become ready."""
    platform_defaults: Free = {}
    """Passed on whole to the platform."""


class LeptonTasks(SpecModel):
    """What all evaluation jobs have in common."""

    node_group: str | None = None
    """Where jobs run."""
    env_vars: dict[str, str | LeptonValue] = {}
    """Variables of the harness; secrets by `value_from`."""
    api_tokens: tuple[LeptonToken, ...] = ()
    """Tokens for the endpoint."""
    mounts: tuple[LeptonMount, ...] = ()
    """Shared file systems."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of the workspace's registry secrets."""


class LeptonPlatform(SpecModel):
    """Settings of the platform."""

    deployment: LeptonServing = LeptonServing()
    """Endpoints."""
    tasks: LeptonTasks = LeptonTasks()
    """Evaluation jobs."""


class LeptonExecution(ExecutionBase):
    """DGX Cloud Lepton."""

    type: Literal["lepton"] = "lepton"
    """The executor."""
    env_var_names: tuple[str, ...] = ()
    """Names of variables that are passed on from here."""
    evaluation_tasks: LeptonEvaluationTasks = LeptonEvaluationTasks()
    """The machine that a harness runs on."""
    lepton_platform: LeptonPlatform = LeptonPlatform()
    """Settings of the platform."""
