"""Where jobs run: what all executors share, and this machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.base import SpecModel

__all__ = ["AutoExport", "ExecutionBase", "LocalExecution", "Mounts"]

Seconds = Annotated[float, Field(gt=0)]


class Mounts(SpecModel):
    """Host folders → paths in the containers."""

    deployment: dict[str, str] = {}
    """For the server."""
    evaluation: dict[str, str] = {}
    """For the harness."""
    auxiliary: dict[str, dict[str, str]] = {}
    """For further servers, by the name of each."""
    mount_home: bool = True
    """Mount the user's home directory too, where the executor can (Slurm)."""


class AutoExport(SpecModel):
    """What happens with results when the run has ended."""

    destinations: tuple[str, ...] = ()
    """Names of exporters; their settings are under `export`."""


class ExecutionBase(SpecModel):
    """Settings shared by all executors."""

    type: str
    """The executor."""
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
    auto_export: AutoExport | None = None
    """Export when the run has ended."""

    @property
    def runs_folder(self) -> str:
        """Where the timestamped run directories go on this machine; `output_dir` may be another machine's."""
        return self.output_dir

    @property
    def task_timeout(self) -> float:
        """Seconds for a task that has no time limit of its own."""
        return self.timeout

    @property
    def variables_there(self) -> frozenset[str]:
        """Names of variables that the place where jobs run supplies, so that they need no value here."""
        return frozenset()

    @property
    def paths_elsewhere(self) -> bool:
        """Whether absolute paths of data mean the machines where jobs run, not this one."""
        return False


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
    mounts: Mounts = Mounts()
    """Host folders that containers see."""
    keep_days: Annotated[int, Field(gt=0)] | None = 90
    """Days after which ended attempts leave `$NEL_ACTION_HOME/local`; run directories stay. Null keeps them."""
