"""Settings of a Slurm cluster: how to reach it, what to request, and what runs the harness there."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.execution import ExecutionBase, Mounts

__all__ = [
    "ClusterEnvironment",
    "Proxy",
    "ProxyConfig",
    "SlurmDeployment",
    "SlurmExecution",
    "walltime_seconds",
]

WALLTIME: Final = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>[0-5]?\d)(?::(?P<seconds>[0-5]?\d))?")


def walltime_seconds(text: str) -> int:
    """Convert `HH:MM:SS`, `D-HH:MM:SS` or `HH:MM` to seconds.

    Raises:
        ValueError: the text has another format.
    """
    match = WALLTIME.fullmatch(text)
    if match is None:
        msg = f"{text!r} is not a time limit; write HH:MM:SS or D-HH:MM:SS"
        raise ValueError(msg)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _reject_number(value: object) -> object:
    if isinstance(value, int):
        msg = "write it in quotes, as in '04:00:00': YAML reads it as a number otherwise"
        raise ValueError(msg)  # noqa: TRY004 pydantic turns a ValueError into a problem with a location
    return value


def _validate_walltime(text: str) -> str:
    walltime_seconds(text)
    return text


Walltime = Annotated[str, BeforeValidator(_reject_number), AfterValidator(_validate_walltime)]
"""`HH:MM:SS` or `D-HH:MM:SS`."""


def _validate_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        msg = f"{text!r} has several lines; write it on one"
        raise ValueError(msg)
    return text


# NOTE: Slurm expands %x in log paths; quotes, backslashes and line ends are special in #SBATCH lines.
CLUSTER_PATH: Final = r"^/[^\n\r%\"'\\]*$"


def _validate_cluster_path(text: str) -> str:
    if not text.startswith("/"):
        example = f"/shared/{text.lstrip('./') or 'me'}"
        msg = f"{text!r} is not an absolute path; write a path of the cluster, such as {example}"
        raise ValueError(msg)
    if (match := re.search(r"[\n\r%\"'\\]", text)) is not None:
        msg = f"{text!r} contains {match[0]!r}, which Slurm or its options would change; use another path"
        raise ValueError(msg)
    return text


ClusterPath = Annotated[
    str, AfterValidator(_validate_cluster_path), WithJsonSchema({"type": "string", "pattern": CLUSTER_PATH})
]
"""An absolute path on the cluster."""

Line = Annotated[str, AfterValidator(_validate_line), WithJsonSchema({"type": "string", "pattern": r"^[^\n\r]*$"})]
"""Text for an `#SBATCH` line."""

RESERVED_FLAGS: Final = (
    *("array", "chdir", "dependency", "error", "job-name", "no-requeue", "open-mode", "output", "parsable"),
    *("requeue", "signal", "test-only", "wait", "wrap"),
)
"""Options of sbatch that nel-action sets itself."""


def _validate_flag(name: str) -> str:
    if name in RESERVED_FLAGS:
        msg = f"--{name} is reserved: nel-action sets it to find its jobs again"
        raise ValueError(msg)
    return name


Flag = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$"), AfterValidator(_validate_flag)]
"""A long option of sbatch without its dashes."""

Positive = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ClusterEnvironment(SpecModel):
    """Environment of programs that run on the cluster without a container."""

    path: ClusterPath | None = None
    """A Python environment on the cluster (venv or conda); its `bin` is prepended to `PATH`."""
    modules: tuple[str, ...] = ()
    """Environment modules to load (`python/3.11`), with `module load` in a login shell."""
    setup: ClusterPath | None = None
    """A shell script on the cluster that is sourced before the program starts."""


class ProxyConfig(SpecModel):
    """Port and health check of the load balancer."""

    haproxy_port: Port = 5009
    """Preferred port; the next free port if it is in use."""
    health_check_path: str = "/health"
    """Path that is requested from each instance."""
    health_check_status: Annotated[int, Field(ge=100, le=599)] = 200
    """Status code of a healthy instance."""


class Proxy(SpecModel):
    """The load balancer for several instances of a server."""

    type: Literal["haproxy"] = "haproxy"
    """The program."""
    image: str = "haproxy:latest"
    """Its image, if containers are used."""
    config: ProxyConfig = ProxyConfig()
    """Port and health check."""


class SlurmDeployment(SpecModel):
    """Slurm tasks of the model server."""

    n_tasks: Positive | None = None
    """Tasks of all instances together; by default one per node."""


class SlurmExecution(ExecutionBase):
    """A Slurm cluster, over SSH or, with `hostname: localhost`, from one of its login nodes."""

    type: Literal["slurm"] = "slurm"
    """The executor."""
    hostname: str
    """The login node, or its alias in `~/.ssh/config`; `localhost` uses no SSH."""
    username: str | None = None
    """Account on the login node; by default as in `~/.ssh/config`, else the local user name."""
    port: Port | None = None
    """SSH port; by default as in `~/.ssh/config`, else 22."""
    known_hosts: str | None = None
    """Lines of a known_hosts file, or the path of such a file on this machine; by default `~/.ssh/known_hosts` and
    `/etc/ssh/ssh_known_hosts`. Hosts that are not listed are rejected."""
    known_hosts_name: EnvironmentName | None = None
    """Name of the variable with the lines of a known_hosts file."""
    key_file: str | None = None
    """Private key on this machine; by default the SSH agent and the files of OpenSSH's configuration."""
    key_name: EnvironmentName | None = None
    """Name of the variable with the private key."""
    key_passphrase_name: EnvironmentName | None = None
    """Name of the variable with the key's passphrase."""
    proxy_jump: str | None = None
    """Jump hosts, as in `ssh -J`: `user@host:port`, separated by commas. Their host keys are checked as well."""
    bin_dir: ClusterPath | None = None
    """Directory of `sbatch` and Slurm's other programs on the login node, if it is not in `PATH`."""
    login_shell: bool = False
    """Run commands in a login shell, for clusters that provide Slurm as an environment module."""
    connect_timeout: Annotated[float, Field(gt=0)] = 20
    """Seconds to establish a connection."""
    command_timeout: Annotated[float, Field(gt=0)] = 60
    """Seconds for one command on the login node."""
    outage_timeout: Annotated[float, Field(ge=0)] = 300
    """Seconds for which submission, cancellation and collection retry while the login node or the controller is down;
    waiting for results retries until its own time limit."""

    output_dir: ClusterPath
    """Directory of the jobs and their results on the cluster; absolute, shared by login and compute nodes."""
    runs_dir: str = "runs"
    """Directory of the timestamped run directories on this machine."""
    account: Line | None = None
    """Account to charge."""
    partition: Line | None = "batch"
    """Partition; null selects the cluster's default."""
    cpu_partition: Line | None = None
    """The launcher's key for its export jobs; unused, since exports run where nel-action runs."""
    qos: Line | None = None
    """Quality of service."""
    num_nodes: Positive = 1
    """Nodes of the deployment, for all instances together; without a deployment, nodes of the job."""
    num_instances: Positive = 1
    """Independent instances of the server behind a load balancer; must divide `num_nodes`."""
    ntasks_per_node: Positive = 1
    """Task slots per node."""
    gres: Line | None = None
    """Generic resources per node (`gpu:8`)."""
    gpus_per_node: int | Line | None = None
    """GPUs per node (`8`, `h100:8`), instead of `gres`."""
    walltime: Walltime = "01:00:00"
    """Time limit of one Slurm job."""
    max_walltime: Walltime | None = "120:00:00"
    """Time limit of a task over all Slurm jobs that continue one another; null for none."""
    max_resumes: Annotated[int, Field(ge=0)] = 20
    """Number of continuations after the time limit, preemption or the loss of a node; 0 disables them."""
    endpoint_readiness_timeout: Annotated[float, Field(gt=0)] | None = None  # type: ignore[assignment]
    """Seconds for a deployment to become healthy; by default `walltime`."""
    timeout: Annotated[float, Field(gt=0)] = 120 * 3600
    """Seconds of run time after which a task is stopped, over all its Slurm jobs."""
    parallelism: Positive = 1000
    """Jobs of an invocation in the queue at the same time; further ones are submitted while a process waits."""
    subproject: Line = "nel-action"
    """Prefix of each job's comment, for usage reports."""
    sbatch_comment: Line | None = None
    """Comment of the jobs, instead of the generated one."""
    sbatch_extra_flags: dict[Flag, bool | int | float | Line | None] = {"exclusive": True}
    """Additional options of sbatch, merged with the default: true sets a flag, false and null omit it."""
    mpi: Line | None = None
    """`srun --mpi=…` of the servers (`pmix`, `pmi2`)."""
    deployment: SlurmDeployment = SlurmDeployment()
    """Slurm tasks of the model server."""
    mounts: Mounts = Mounts()
    """Paths of the cluster that are mounted into containers, in addition to the job's directory."""
    proxy: Proxy = Proxy()
    """The load balancer for several instances."""
    evaluation_gpu_visible: bool | str = False
    """GPUs visible to the harness: none, all, or a list (`0,1`)."""

    runtime: Literal["pyxis", "apptainer", "podman", "charliecloud", "none"] = "pyxis"
    """Container runtime of the compute nodes; `none` runs programs without containers."""
    runtime_args: tuple[str, ...] = ()
    """Additional arguments of the container runtime; for podman, those before a `--` precede its `run`."""
    environment: ClusterEnvironment = ClusterEnvironment()
    """Environment of programs that run without a container."""
    environments: dict[str, ClusterEnvironment] = {}
    """Environments of single harnesses or deployments, by name (`lm_eval`, `llamacpp`)."""
    keep_days: Positive | None = None
    """Days after which directories of finished jobs are removed from the cluster; null keeps them."""

    @model_validator(mode="after")
    def _instances_divide_nodes(self) -> SlurmExecution:
        if self.num_nodes % self.num_instances:
            msg = f"num_instances ({self.num_instances}) must divide num_nodes ({self.num_nodes})"
            raise ValueError(msg)
        if self.deployment.n_tasks and self.deployment.n_tasks % self.num_instances:
            msg = f"num_instances ({self.num_instances}) must divide deployment.n_tasks ({self.deployment.n_tasks})"
            raise ValueError(msg)
        return self

    @property
    def run_dirs_parent(self) -> str:
        """Directory of the timestamped run directories on this machine."""
        return self.runs_dir

    @property
    def has_remote_paths(self) -> bool:
        """Whether absolute paths of datasets refer to the cluster: always."""
        return True

    @property
    def readiness_seconds(self) -> float:
        """Seconds for a deployment to become healthy."""
        return self.endpoint_readiness_timeout or walltime_seconds(self.walltime)

    def environment_of(self, name: str) -> ClusterEnvironment:
        """Return the environment of a harness or deployment."""
        return self.environments.get(name, self.environment)
