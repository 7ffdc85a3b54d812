"""DGX Cloud Lepton: where jobs run there, and how it serves a model. The keys are those of NeMo Evaluator Launcher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

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

    model_config = ConfigDict(populate_by_name=True)

    source: Annotated[str | None, Field(alias="from")] = None
    """The volume (`node-nfs:NAME`)."""
    path: str
    """Folder of the volume."""
    mount_path: str
    """Where the container sees it."""
    local_path: str | None = None
    """Where this machine sees the same folder, if it does: results are then read there."""


class LeptonModelCache(SpecModel):
    """Where an endpoint keeps the model."""

    model_config = ConfigDict(populate_by_name=True)

    enabled: bool = False
    """Mount it at all."""
    source: Annotated[str | None, Field(alias="from")] = None
    """The volume (`node-nfs:NAME`); that of the first mount of the tasks unless said."""
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
    shared_memory_size: Annotated[int, Field(gt=0)] | None = None
    """Shared memory of a replica, in MiB."""
    keep: bool = False
    """Leave the endpoint there when the run has ended, for the next one; it still scales to zero when idle."""


class LeptonEvaluationTasks(SpecModel):
    """The machine that a harness runs on."""

    resource_shape: str = "cpu.small"
    """The machine."""
    timeout: Seconds = 3600
    """Seconds for one task."""
    use_shared_storage: bool = True
    """Leave results on the mounted volume too, where there is one; they come home through the job's log."""
    priority_class: str | None = None
    """The queue's word for how urgent jobs are (`mid-4000`)."""
    can_preempt: bool | None = None
    """Whether jobs may push out less urgent ones."""
    can_be_preempted: bool | None = None
    """Whether more urgent jobs may push these out."""
    shared_memory_size: Annotated[int, Field(gt=0)] | None = None
    """Shared memory of a job, in MiB."""
    work_dir: str = "/tmp/nel-action"  # noqa: S108 - of a container of its own
    """Folder in the job's container for its files, where they are not on a mounted volume."""
    log_limit: Annotated[int, Field(gt=0)] = 64
    """MiB of packed results that a job sends home through its log; more stays on the mounted volume."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How often the platform starts a job again that failed there, by whatever reason."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] = 7 * 24 * 3600
    """Seconds that the platform keeps a job that has ended, with its log; the platform's own default is 600."""


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

    @property
    def task_timeout(self) -> float:
        """`evaluation_tasks.timeout` is the time limit of a task, as for the launcher, unless `timeout` is given."""
        return self.timeout if "timeout" in self.model_fields_set else self.evaluation_tasks.timeout

    @property
    def variables_there(self) -> frozenset[str]:
        """Names of variables that the workspace supplies, so that they need no value here."""
        return frozenset(self.lepton_platform.tasks.env_vars)

    @property
    def paths_elsewhere(self) -> bool:
        """Absolute paths of data are those of the mounted volume."""
        return True
