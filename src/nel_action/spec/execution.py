"""Settings of executors: those of all executors, and of local execution."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.base import SpecModel

__all__ = ["AutoExport", "ExecutionBase", "LocalExecution", "Mounts"]

Seconds = Annotated[float, Field(gt=0)]


class Mounts(SpecModel):
    """Mounts of containers: directory of the host → path in the container."""

    deployment: dict[str, str] = {}
    """Mounts of the model server."""
    evaluation: dict[str, str] = {}
    """Mounts of the harness."""
    auxiliary: dict[str, dict[str, str]] = {}
    """Mounts of auxiliary servers, by name."""
    mount_home: bool = True
    """Also mount the user's home directory, if the executor supports it (Slurm)."""


class AutoExport(SpecModel):
    """Exports after a run."""

    destinations: tuple[str, ...] = ()
    """Names of exporters; their settings are in `export`."""


class ExecutionBase(SpecModel):
    """Settings shared by all executors."""

    type: str
    """The executor."""
    output_dir: str = "runs"
    """Parent of the timestamped run directories, relative to the current directory."""
    parallelism: Annotated[int, Field(gt=0)] = 1
    """Concurrent jobs."""
    timeout: Seconds = 6 * 3600
    """Seconds after which a job is stopped, with reason `time_limit`."""
    endpoint_readiness_timeout: Seconds = 600
    """Seconds within which a deployment must become healthy, and a target that is still loading (503) must answer."""
    trust_commands: bool = False
    """Allow the shell commands of `pre_cmd` and `post_cmd`."""
    salt: str = ""
    """Part of all job keys; a new value runs everything again."""
    auto_export: AutoExport | None = None
    """Exports after a run."""

    @property
    def run_dirs_parent(self) -> str:
        """Parent of the timestamped run directories on this machine; `output_dir` may be on another machine."""
        return self.output_dir

    @property
    def task_timeout(self) -> float:
        """Time limit in seconds of tasks without an own one."""
        return self.timeout

    @property
    def runtime_variables(self) -> frozenset[str]:
        """Names of variables that exist where jobs run, so that they need no value on this machine."""
        return frozenset()

    @property
    def has_remote_paths(self) -> bool:
        """Whether absolute paths of data refer to the machines where jobs run, not to this one."""
        return False


class LocalExecution(ExecutionBase):
    """Execution on this machine."""

    type: Literal["local"] = "local"
    """The executor."""
    runtime: Literal["docker", "process"] = "docker"
    """`docker`: harnesses in containers; `process`: harnesses in isolated environments created by uv."""
    mode: Literal["sequential", "parallel"] | None = None
    """For configs of the launcher: `parallel` runs all jobs at once, `sequential` one by one; prefer `parallelism`."""
    network: str | None = None
    """Docker network of harness containers; without the gateway, `host` if the target listens on this machine's
    loopback interface only."""
    gpus: Literal["all"] | Annotated[int, Field(ge=0)] | None = None
    """GPUs of deployments in containers."""
    memory: str | None = None
    """Memory limit of a harness container (`8g`)."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """CPU limit of a harness container."""
    shm_size: str = "8g"
    """Shared memory of each container."""
    pull: Literal["missing", "always", "never"] = "missing"
    """When to pull images."""
    extra_docker_args: str = ""
    """Options of `docker run`, for configs of the launcher; unsupported ones are refused by name."""
    mounts: Mounts = Mounts()
    """Mounts of containers."""
    keep_days: Annotated[int, Field(gt=0)] | None = 90
    """Days after which finished attempts in `$NEL_ACTION_HOME/local` are deleted; null for never."""
