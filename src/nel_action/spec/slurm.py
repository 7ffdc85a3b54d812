"""A Slurm cluster: how to reach it, what to ask of it, and what it has to run a harness with."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

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
    """Return the seconds of `HH:MM:SS`, `D-HH:MM:SS` or `HH:MM`.

    Raises:
        ValueError: it is none of these.
    """
    found = WALLTIME.fullmatch(text)
    if found is None:
        msg = f"{text!r} is no time limit; write HH:MM:SS or D-HH:MM:SS"
        raise ValueError(msg)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _quoted(value: object) -> object:
    if isinstance(value, int):
        msg = "write it in quotes, as in '04:00:00': YAML takes one without for a number"
        raise ValueError(msg)  # noqa: TRY004 pydantic turns a ValueError into a problem with a place
    return value


def _walltime(text: str) -> str:
    walltime_seconds(text)
    return text


Walltime = Annotated[str, BeforeValidator(_quoted), AfterValidator(_walltime)]
"""`HH:MM:SS` or `D-HH:MM:SS`."""

# NOTE: Slurm replaces %x in log paths, and quotes, backslashes and line ends mean something in #SBATCH lines.
ClusterPath = Annotated[str, Field(pattern=r"^/[^\n\r%\"'\\]*$")]
"""An absolute path on the cluster."""

Line = Annotated[str, Field(pattern=r"^[^\n\r]*$")]
"""Text on one line, as it will stand in an `#SBATCH` line."""

OURS: Final = (
    *("array", "chdir", "dependency", "error", "job-name", "no-requeue", "open-mode", "output", "parsable"),
    *("requeue", "signal", "test-only", "wait", "wrap"),
)
"""Options of sbatch that this program must set itself."""


def _flag(name: str) -> str:
    if name in OURS:
        msg = f"--{name} is set by nel-action itself, so that it finds its jobs again"
        raise ValueError(msg)
    return name


Flag = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$"), AfterValidator(_flag)]
"""A long option of sbatch without its dashes."""

Positive = Annotated[int, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ClusterEnvironment(SpecModel):
    """What a program finds when it runs on the cluster without a container."""

    path: ClusterPath | None = None
    """A Python environment on the cluster (venv or conda); its `bin` comes first in `PATH`."""
    modules: tuple[str, ...] = ()
    """Environment modules to load (`python/3.11`), by `module load` in a login shell."""
    setup: ClusterPath | None = None
    """A shell script on the cluster that is sourced before the program starts."""


class ProxyConfig(SpecModel):
    """How the balancer looks at the server's instances."""

    haproxy_port: Port = 5009
    """Where it listens; the next free port is taken if this one is not."""
    health_check_path: str = "/health"
    """What it asks each instance."""
    health_check_status: Annotated[int, Field(ge=100, le=599)] = 200
    """What a healthy one answers."""


class Proxy(SpecModel):
    """The balancer before several instances of a server."""

    type: Literal["haproxy"] = "haproxy"
    """The program."""
    image: str = "haproxy:latest"
    """Its image, where containers are used."""
    config: ProxyConfig = ProxyConfig()
    """Its settings."""


class SlurmDeployment(SpecModel):
    """How a deployment's tasks are laid out."""

    n_tasks: Positive | None = None
    """Tasks of the server over all instances; one for each node unless said."""


class SlurmExecution(ExecutionBase):
    """A Slurm cluster, reached by SSH or, with `hostname: localhost`, from one of its own login nodes."""

    type: Literal["slurm"] = "slurm"
    """The executor."""
    hostname: str
    """The login node, or its alias in `~/.ssh/config`; `localhost` uses no SSH."""
    username: str | None = None
    """The account there; as SSH's own configuration says, or the local user's name, unless given."""
    port: Port | None = None
    """SSH's port; 22 unless `~/.ssh/config` says otherwise."""
    known_hosts: str | None = None
    """Lines of a known_hosts file, or the path of one on this machine; `~/.ssh/known_hosts` and
    `/etc/ssh/ssh_known_hosts` unless given. A host that is in none of them is refused."""
    known_hosts_name: EnvironmentName | None = None
    """Name of the variable that holds such lines."""
    key_file: str | None = None
    """A private key on this machine; the agent and the usual files in `~/.ssh` are tried unless given."""
    key_name: EnvironmentName | None = None
    """Name of the variable that holds a private key."""
    key_passphrase_name: EnvironmentName | None = None
    """Name of the variable that holds the key's passphrase."""
    proxy_jump: str | None = None
    """Hosts on the way, as in `ssh -J`: `user@host:port`, several with commas. Their keys are checked alike."""
    bin_dir: ClusterPath | None = None
    """Where `sbatch` and its kin are on the login node, if not in a plain `PATH`."""
    login_shell: bool = False
    """Run commands on the login node in a login shell, where Slurm itself comes from a module."""
    connect_timeout: Annotated[float, Field(gt=0)] = 20
    """Seconds for making a connection."""
    command_timeout: Annotated[float, Field(gt=0)] = 60
    """Seconds for one command on the login node."""
    outage_timeout: Annotated[float, Field(ge=0)] = 300
    """Seconds for which submitting, cancelling and collecting wait out a login node or a controller that is down;
    waiting for results waits it out for as long as there is time."""

    output_dir: ClusterPath
    """Where jobs and what they leave lie on the cluster; absolute, seen by login and compute nodes alike."""
    runs_dir: str = "runs"
    """Where the timestamped run directories go on this machine."""
    account: Line | None = None
    """The account that pays."""
    partition: Line | None = "batch"
    """The partition; null takes the cluster's default."""
    cpu_partition: Line | None = None
    """The launcher's key for its export jobs; exports run where nel-action runs, so it is not used."""
    qos: Line | None = None
    """The quality of service."""
    num_nodes: Positive = 1
    """Nodes of the deployment over all instances (and, without one, of the job)."""
    num_instances: Positive = 1
    """Independent copies of the server behind a balancer; divides `num_nodes`."""
    ntasks_per_node: Positive = 1
    """Task slots on each node."""
    gres: Line | None = None
    """Generic resources of each node (`gpu:8`)."""
    gpus_per_node: int | Line | None = None
    """GPUs of each node (`8`, `h100:8`), in place of `gres`."""
    walltime: Walltime = "01:00:00"
    """Time limit of one Slurm job."""
    max_walltime: Walltime | None = "120:00:00"
    """Time limit of all Slurm jobs that continue one another for one task; null sets none."""
    max_resumes: Annotated[int, Field(ge=0)] = 20
    """How often a job that met its time limit, was preempted or lost its node is continued; 0 never."""
    endpoint_readiness_timeout: Annotated[float, Field(gt=0)] | None = None  # type: ignore[assignment]
    """Seconds that a deployment has to become healthy; as long as `walltime` unless given."""
    timeout: Annotated[float, Field(gt=0)] = 120 * 3600
    """Seconds of running after which a task is ended, over all its Slurm jobs."""
    parallelism: Positive = 1000
    """Jobs in the queue at once; the cluster decides how many of them run."""
    subproject: Line = "nel-action"
    """Written into each job's comment, so that usage can be told apart."""
    sbatch_comment: Line | None = None
    """The comment, in place of the one that is made here."""
    sbatch_extra_flags: dict[Flag, bool | int | float | Line | None] = {"exclusive": True}
    """Further options of sbatch: true sets a flag, false and null leave it out."""
    mpi: Line | None = None
    """`srun --mpi=…` for servers that need one (`pmix`, `pmi2`)."""
    deployment: SlurmDeployment = SlurmDeployment()
    """How the server's tasks are laid out."""
    mounts: Mounts = Mounts()
    """What containers see of the cluster's file systems, besides the job's own directory."""
    proxy: Proxy = Proxy()
    """The balancer, where there are several instances."""
    evaluation_gpu_visible: bool | str = False
    """Which GPUs the harness sees: none, all, or those listed (`0,1`)."""

    runtime: Literal["pyxis", "apptainer", "podman", "charliecloud", "none"] = "pyxis"
    """What runs containers on the compute nodes; `none` runs programs as they are."""
    runtime_args: tuple[str, ...] = ()
    """Further words for the container runtime's command line; for podman, those before a `--` come before its `run`."""
    environment: ClusterEnvironment = ClusterEnvironment()
    """For programs that run without a container."""
    environments: dict[str, ClusterEnvironment] = {}
    """The same for one harness or deployment alone, by its name (`lm_eval`, `llamacpp`)."""
    keep_days: Positive | None = None
    """Days after which directories of ended jobs are removed from the cluster; null keeps them."""

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
    def runs_folder(self) -> str:
        """Where the timestamped run directories go on this machine."""
        return self.runs_dir

    @property
    def paths_elsewhere(self) -> bool:
        """Absolute paths of data are the cluster's."""
        return True

    @property
    def readiness_seconds(self) -> float:
        """How long a deployment may take to become healthy."""
        return self.endpoint_readiness_timeout or walltime_seconds(self.walltime)

    def environment_of(self, name: str) -> ClusterEnvironment:
        """Return what a harness or deployment of that name finds."""
        return self.environments.get(name, self.environment)
