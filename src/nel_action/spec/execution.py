"""Where jobs run: one model per executor, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.base import SpecModel

__all__ = ["Execution", "ExecutionBase", "LocalExecution"]

Seconds = Annotated[float, Field(gt=0)]


class ExecutionBase(SpecModel):
    """What all executors have in common."""

    output_dir: str = "runs"
    """Where the timestamped run directories go, relative to where nel-action runs."""
    parallelism: Annotated[int, Field(gt=0)] = 1
    """Jobs at once."""
    timeout: Seconds = 6 * 3600
    """Seconds after which a job is ended, with reason `time_limit`."""
    endpoint_readiness_timeout: Seconds = 600
    """Seconds that a deployment has to become healthy."""
    trust_commands: bool = False
    """Allow `pre_cmd` and `post_cmd`, which run as shell text."""
    salt: str = ""
    """Part of every job's key: another salt runs everything again."""


class LocalExecution(ExecutionBase):
    """This machine."""

    type: Literal["local"] = "local"
    """The executor."""
    runtime: Literal["docker", "process"] = "docker"
    """`docker`: harness images; `process`: harnesses in isolated environments made by uv."""
    mode: Literal["sequential", "parallel"] | None = None
    """The launcher's word: `parallel` runs all jobs at once, `sequential` one by one; `parallelism` says it better."""
    network: str | None = None
    """Docker network of the harness containers; `host` where the target listens on this machine's loopback only."""
    gpus: Literal["all"] | Annotated[int, Field(ge=0)] | None = None
    """GPUs for deployments that run in containers."""
    memory: str | None = None
    """Memory limit of a harness container (`8g`)."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """CPU limit of a harness container."""
    shm_size: str = "8g"
    """Shared memory of each container."""
    pull: Literal["missing", "always", "never"] = "missing"
    """When to pull images."""
    extra_docker_args: str = ""
    """Flags of `docker run` in the launcher's style; those that have no counterpart here are refused by name."""
    mounts: dict[str, dict[str, str]] = {}
    """`deployment` and `evaluation`: host folder → path in the container."""
    auto_export: dict[str, object] | None = None
    """The launcher's key: `destinations` are exported to when the run has ended."""


Execution = Annotated[LocalExecution, Field()]
"""One of the executors' settings, by `type`."""
