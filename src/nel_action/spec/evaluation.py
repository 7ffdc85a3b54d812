"""What to run: tasks and their parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nel_action.model.env_ref import EnvRef
from nel_action.model.task import EndpointType
from nel_action.spec.base import EnvironmentName, Free, SpecModel
from nel_action.spec.params import TaskParams

__all__ = ["Evaluation", "Task"]


class Task(SpecModel):
    """One benchmark."""

    name: str
    """A task of the catalog (`gsm8k`, `lm-evaluation-harness.ifeval`), or any name where `harness` says who runs it."""
    harness: str | None = None
    """Who runs it: `nemo`, `lm_eval`, `inspect`, `command` or a plug-in; the catalog says it for its own tasks."""
    container: str | None = None
    """The image that holds the harness; overrides the catalog's."""
    endpoint_type: EndpointType | None = None
    """Which route the benchmark speaks to, where it knows several."""
    params: TaskParams = TaskParams()
    """Short for `nemo_evaluator_config.config.params`."""
    nemo_evaluator_config: Free = {}
    """Overrides in the shape of a nemo-evaluator run configuration (`config.params.…`, `target.api_endpoint.…`)."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables for this task alone."""
    task_dir: str | None = None
    """A folder with the harness's own task definitions (lm-eval YAML files, inspect tasks, scripts), relative to the
    spec; its contents are part of the job's key."""
    command: tuple[str, ...] | None = None
    """For `harness: command`: the program and its arguments; no shell."""
    requirements: str | None = None
    """A hashed requirements file, relative to the spec, for the environment that the harness runs in without a
    container; by default the one that comes with nel-action."""
    metric: str | None = None
    """The metric that stands for the task where nothing else is asked; overrides the catalog's."""
    expected_items: Annotated[int, Field(gt=0)] | None = None
    """Items of a whole run; fewer make the task unmeasurable. The catalog or the harness says it otherwise."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the task is ended; overrides `execution.timeout`."""
    dataset_dir: str | None = None
    """A folder of data that is mounted for the harness."""
    dataset_mount_path: str = "/datasets"
    """Where `dataset_dir` is mounted."""
    pre_cmd: str | None = None
    """Shell text that runs before the harness; refused unless `execution.trust_commands` is set."""
    post_cmd: str | None = None
    """Shell text that runs after the harness; refused unless `execution.trust_commands` is set."""


class Evaluation(SpecModel):
    """The tasks, and what they have in common."""

    tasks: tuple[Task, ...] = ()
    """At least one."""
    params: TaskParams = TaskParams()
    """Parameters of every task; a task's own come first."""
    nemo_evaluator_config: Free = {}
    """The same in the long form."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of every task."""
    pre_cmd: str | None = None
    """Shell text before every task; refused unless `execution.trust_commands` is set."""
    post_cmd: str | None = None
    """Shell text after every task; refused unless `execution.trust_commands` is set."""
