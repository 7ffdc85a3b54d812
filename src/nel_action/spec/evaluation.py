"""The benchmarks to run, and their parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nel_action.model.env_ref import EnvRef
from nel_action.model.task import EndpointType
from nel_action.spec.base import EnvironmentName, Free, SpecModel
from nel_action.spec.budget import Budget
from nel_action.spec.gateway import Gateway

__all__ = ["Evaluation", "Task", "TaskParams"]


class TaskParams(SpecModel):
    """Parameters; missing ones are those of the evaluation, the catalog, or the defaults in parentheses."""

    limit_samples: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)] | None = None
    """Items to evaluate: a count, or a fraction below 1 (all)."""
    parallelism: Annotated[int, Field(gt=0)] | None = None
    """Concurrent requests (4)."""
    request_timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds per request (600)."""
    max_retries: Annotated[int, Field(ge=0)] | None = None
    """Tries of a request after the first (5)."""
    seed: int | None = None
    """Seed of all random numbers in the harness (1234)."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """Sampling temperature (the benchmark's own)."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Probability mass of nucleus sampling (the benchmark's own)."""
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    """Maximum tokens of an answer (the benchmark's own)."""
    task: str | None = None
    """The harness's own name of the task, if it differs."""
    extra: Free = {}
    """Further parameters of this harness or task."""


class Task(SpecModel):
    """A benchmark."""

    name: str
    """A task of the catalog (`gsm8k`, `lm-evaluation-harness.ifeval`), or any name if `harness` is set."""
    harness: str | None = None
    """The harness: `nemo`, `lm_eval`, `inspect`, `command` or a plug-in; by default that of the catalog."""
    container: str | None = None
    """Image of the harness; overrides that of the catalog."""
    endpoint_type: EndpointType | None = None
    """Endpoint type to use, if the benchmark supports several."""
    params: TaskParams = TaskParams()
    """Short form of `nemo_evaluator_config.config.params`."""
    nemo_evaluator_config: Free = {}
    """Overrides in the form of a nemo-evaluator run configuration (`config.params.…`, `target.api_endpoint.…`)."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of this task only."""
    task_dir: str | None = None
    """Directory with the harness's own task definitions (lm-eval YAML files, inspect tasks, scripts), relative to the
    spec; its contents are part of the job key."""
    command: tuple[str, ...] | None = None
    """For `harness: command`: the program and its arguments, without a shell."""
    requirements: str | None = None
    """Hashed requirements file, relative to the spec, for the environment of a harness that runs without a container;
    by default the one of nel-action."""
    metric: str | None = None
    """Primary metric of the task; overrides that of the catalog."""
    expected_items: Annotated[int, Field(gt=0)] | None = None
    """Items of a complete run; with fewer, the task is unmeasurable. By default that of the catalog or harness."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the task is stopped; overrides `execution.timeout`."""
    gateway: Gateway | bool | None = None
    """Settings of the gateway for this task, by default those of the spec; `false` switches it off."""
    budget: Budget | None = None
    """The most that each job of this task may pay for, in place of its share in the budget of the spec."""
    dataset_dir: str | None = None
    """Directory with data that is mounted for the harness."""
    dataset_mount_path: str = "/datasets"
    """Mount point of `dataset_dir`."""
    pre_cmd: str | None = None
    """Shell commands before the harness; refused unless `execution.trust_commands` is set."""
    post_cmd: str | None = None
    """Shell commands after the harness; refused unless `execution.trust_commands` is set."""


class Evaluation(SpecModel):
    """The tasks and their common settings."""

    tasks: tuple[Task, ...] = ()
    """The tasks; at least one."""
    params: TaskParams = TaskParams()
    """Parameters of all tasks; those of a task take precedence."""
    nemo_evaluator_config: Free = {}
    """The same in the form of a nemo-evaluator run configuration."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of all tasks."""
    pre_cmd: str | None = None
    """Shell commands before each task; refused unless `execution.trust_commands` is set."""
    post_cmd: str | None = None
    """Shell commands after each task; refused unless `execution.trust_commands` is set."""
