"""Settings of DGX Cloud Lepton for jobs and endpoints, with the keys of NeMo Evaluator Launcher."""

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
    """The source of a value on the platform."""

    secret_name_ref: str | None = None
    """Name of a secret of the workspace."""
    token_name_ref: str | None = None
    """Name of a token of the workspace."""


class LeptonValue(SpecModel):
    """A value that the platform inserts."""

    value_from: LeptonValueSource
    """The source."""


class LeptonToken(SpecModel):
    """A token that an endpoint accepts."""

    value: str | None = None
    """The token; use `value_from` to keep it out of the spec."""
    value_from: LeptonValueSource | None = None
    """The source."""


class LeptonMount(SpecModel):
    """A mounted volume."""

    model_config = ConfigDict(populate_by_name=True)

    source: Annotated[str | None, Field(alias="from")] = None
    """The volume (`node-nfs:NAME`)."""
    path: str
    """Directory of the volume."""
    mount_path: str
    """Mount point in the container."""
    local_path: str | None = None
    """The same directory on this machine, if it is accessible: results are then read from it."""


class LeptonModelCache(SpecModel):
    """The volume that stores the model of an endpoint."""

    model_config = ConfigDict(populate_by_name=True)

    enabled: bool = False
    """Whether to mount it."""
    source: Annotated[str | None, Field(alias="from")] = None
    """The volume (`node-nfs:NAME`); by default the volume of the tasks' first mount."""
    cache_path: str | None = None
    """Directory of the volume."""
    mount_path: str | None = None
    """Mount point in the container."""


class LeptonConfig(SpecModel):
    """The endpoint that serves the model."""

    endpoint_name: str | None = None
    """Prefix of the endpoint's name."""
    resource_shape: str | None = None
    """The machine shape (`gpu.1xh200`)."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Smallest number of replicas."""
    max_replicas: Annotated[int, Field(gt=0)] = 1
    """Largest number of replicas."""
    api_token: str | None = None
    """A token that it accepts; use `api_tokens` to keep it out of the spec."""
    api_tokens: tuple[LeptonToken, ...] = ()
    """Tokens that it accepts."""
    auto_scaler: Free = {}
    """Passed to the platform unchanged."""
    health: Free = {}
    """Passed to the platform unchanged."""
    envs: dict[str, str | LeptonValue] = {}
    """Environment variables of the server; secrets with `value_from`."""
    mounts: LeptonModelCache = LeptonModelCache()
    """The volume that stores the model."""
    shared_memory_size: Annotated[int, Field(gt=0)] | None = None
    """Shared memory of a replica, in MiB."""
    keep: bool = False
    """Keep the endpoint after the run for later ones; it still scales to zero when idle."""


class LeptonEvaluationTasks(SpecModel):
    """Resources and limits of a harness's job."""

    resource_shape: str = "cpu.small"
    """The machine shape."""
    timeout: Seconds = 3600
    """Time limit of one task in seconds."""
    use_shared_storage: bool = True
    """Also keep the results on the mounted volume, if any; they are collected through the job's log."""
    priority_class: str | None = None
    """Priority class in the queue (`mid-4000`)."""
    can_preempt: bool | None = None
    """Whether jobs may preempt jobs of lower priority."""
    can_be_preempted: bool | None = None
    """Whether jobs of higher priority may preempt these."""
    shared_memory_size: Annotated[int, Field(gt=0)] | None = None
    """Shared memory of a job, in MiB."""
    work_dir: str = "/tmp/nel-action"  # noqa: S108 - of a container of its own
    """Directory in the container for the job's files, unless they are on a mounted volume."""
    log_limit: Annotated[int, Field(gt=0)] = 64
    """Limit of the packed results that are sent through the job's log, in MiB; larger ones need a mounted volume."""
    retries: Annotated[int, Field(ge=0)] = 0
    """How often the platform restarts a failed job, whatever the reason."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0)] = 7 * 24 * 3600
    """Seconds for which the platform keeps a finished job and its log; the platform's own default is 600."""


class LeptonServing(SpecModel):
    """Settings of all endpoints."""

    node_group: str | None = None
    """Node group of the endpoints."""
    endpoint_readiness_timeout: Seconds = 1200
    """Seconds within which an endpoint must become ready."""
    platform_defaults: Free = {}
    """Defaults of the endpoint's request body, passed to the platform unchanged."""


class LeptonTasks(SpecModel):
    """Settings of all evaluation jobs."""

    node_group: str | None = None
    """Node group of the jobs."""
    env_vars: dict[str, str | LeptonValue] = {}
    """Environment variables of the harness; secrets with `value_from`."""
    api_tokens: tuple[LeptonToken, ...] = ()
    """Tokens that the endpoint accepts, unless `lepton_config.api_tokens` is set."""
    mounts: tuple[LeptonMount, ...] = ()
    """Mounted volumes; the first stores the results."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of the workspace's registry credentials."""


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
    """Names of environment variables of this machine that are passed to the jobs."""
    evaluation_tasks: LeptonEvaluationTasks = LeptonEvaluationTasks()
    """Resources and limits of a harness's job."""
    lepton_platform: LeptonPlatform = LeptonPlatform()
    """Settings of the platform."""

    @property
    def task_timeout(self) -> float:
        """Time limit of a task in seconds: `timeout`, or `evaluation_tasks.timeout`, the launcher's key."""
        return self.timeout if "timeout" in self.model_fields_set else self.evaluation_tasks.timeout

    @property
    def runtime_variables(self) -> frozenset[str]:
        """Names of the variables that the platform sets, which need no value on this machine."""
        return frozenset(self.lepton_platform.tasks.env_vars)

    @property
    def has_remote_paths(self) -> bool:
        """Whether absolute dataset paths are paths of the backend: those of the mounted volume."""
        return True
