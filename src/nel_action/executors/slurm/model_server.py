"""What serves in a job's allocation: the model under test, and further servers on nodes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from typing import Final

from nel_action.executors.auxiliary import server_variables, variable_prefix
from nel_action.executors.slurm.containers import Box, root_of
from nel_action.executors.slurm.layout import JobDir
from nel_action.model_servers.interface import ServeBinding, ServeCommand, Server
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution

__all__ = ["MODEL", "Service", "server_kind", "services"]

MODEL: Final = "server"
"""Label of what serves the model under test."""

ALWAYS: Final = {"PYTHONUNBUFFERED": "1"}
"""So that what a server said last is in its log, however it ends."""

KNOWN: Final = ("ALL_NODE_IPS", "MASTER_IP", "NODES_PER_INSTANCE", "PROC_ID", "SLURM_PROCID")
"""What a server over several nodes knows itself by."""

FIRST_HOLE: Final = 64_001
"""A port number that stands for one that only the job knows; the next that is nowhere in the job is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One server with all its instances."""

    label: str
    """`server`, or `aux_` and the name of a further one; logs are called by it."""
    prefix: str
    """Beginning of the variables that tell of it."""
    kind: str
    deployment: ServedDeployment
    nodes: int
    """Over all instances."""
    instances: int
    tasks: int
    """Of each instance."""
    port_hole: str
    """What stands for an instance's port."""
    front_hole: str
    """What stands for the address and the port where clients find it."""
    command: ServeCommand
    box: Box

    @property
    def base(self) -> str:
        """Where clients find it."""
        return f"http://{self.front_hole}"

    @property
    def port_named(self) -> bool:
        """Whether its command line says the port itself, so that there is no choice."""
        said = [*self.command.argv, *self.command.env.values(), *self.command.files.values()]
        return not any(self.port_hole in text for text in said)

    @property
    def facts(self) -> dict[str, str]:
        """What the harness may ask about it: variables that say where it is and what it serves."""
        return server_variables(self.deployment, self.prefix, self.base)


def services(job: Job, settings: SlurmExecution, place: JobDir) -> tuple[Service, ...]:
    """Return all servers of a job, the model's first."""
    return tuple(_services(job, settings, place))


def _services(job: Job, settings: SlurmExecution, place: JobDir) -> Iterator[Service]:
    text = repr(job)
    holes = (str(number) for number in range(FIRST_HOLE, FIRST_HOLE + 500) if str(number) not in text)
    if isinstance(job.deployment, ServedDeployment):
        nodes, instances = settings.num_nodes, settings.num_instances
        tasks = settings.deployment.n_tasks or nodes
        yield _service(job.deployment, MODEL, "MODEL", settings, place, (nodes, instances, tasks), holes)
    for name, found in job.auxiliary.items():
        if not isinstance(found, ServedDeployment):
            continue
        sizes = (found.num_nodes, found.num_instances, found.num_nodes)
        label = f"aux_{name.replace('-', '_')}"
        yield _service(found, label, variable_prefix(name, found), settings, place, sizes, holes, name)


def _service(
    deployment: ServedDeployment,
    label: str,
    prefix: str,
    settings: SlurmExecution,
    place: JobDir,
    sizes: tuple[int, int, int],
    holes: Iterator[str],
    name: str = "",
) -> Service:
    nodes, instances, tasks = sizes
    port, front = next(holes), f"127.0.0.1:{next(holes)}"
    kind = deployment.type
    # NOTE: what runs on another node than the harness must be reached from there.
    own = label == MODEL and instances == 1
    command = _command(deployment, label, "127.0.0.1" if own else "0.0.0.0", port, settings, place)  # noqa: S104
    more = (f"{prefix}_MASTER_IP", f"{prefix}_ALL_NODE_IPS") if name else ()
    box = _box(deployment, command, settings, place, name, more)
    return Service(
        label=label,
        prefix=prefix,
        kind=kind,
        deployment=deployment,
        nodes=nodes,
        instances=instances,
        tasks=tasks // instances,
        port_hole=port,
        front_hole=front,
        command=command,
        box=box,
    )


def _command(
    deployment: ServedDeployment, label: str, host: str, port: str, settings: SlurmExecution, place: JobDir
) -> ServeCommand:
    """Return what serves, its `pre_cmd` included."""
    root = root_of(settings.runtime, place.run)
    # NOTE: each has files of its own; two may call theirs the same
    folder = PurePosixPath("." if label == MODEL else label)
    checkpoint = PurePosixPath(deployment.checkpoint_path) if deployment.checkpoint_path else None
    binding = ServeBinding(
        host=host,
        port=int(port),
        work_dir=root / "work" / folder,
        checkpoint=checkpoint if checkpoint is None or settings.runtime == "none" else PurePosixPath("/checkpoint"),
    )
    made = server_kind(deployment.type).command(deployment, binding)
    argv, files = made.argv, dict(made.files)
    if deployment.pre_cmd:
        files["pre_server.sh"] = f"{deployment.pre_cmd}\n"
        argv = ("bash", "-c", 'set -e; . "$0"; exec "$@"', str(binding.work_dir / "pre_server.sh"), *argv)
    return ServeCommand(
        argv=argv, env=ALWAYS | dict(made.env), files={str(folder / name): text for name, text in files.items()}
    )


def _box(
    deployment: ServedDeployment,
    command: ServeCommand,
    settings: SlurmExecution,
    place: JobDir,
    name: str,
    more: tuple[str, ...],
) -> Box:
    mounts = dict(settings.mounts.auxiliary.get(name, {}) if name else settings.mounts.deployment)
    if deployment.checkpoint_path:
        mounts[deployment.checkpoint_path] = "/checkpoint:ro"
    if deployment.cache_path:
        mounts[deployment.cache_path] = "/cache"
    return Box(
        runtime=settings.runtime,
        image=deployment.image,
        run_dir=place.run,
        mounts=mounts,
        env_names=sorted({*KNOWN, *more, *deployment.env_vars, *command.env}),
        home=settings.mounts.mount_home,
        gpus=bool(settings.gres or settings.gpus_per_node),
        extra=settings.runtime_args,
    )


def server_kind(kind: str) -> Server:
    """Return the kind of server; looked up only where there is one."""
    found: Server = import_module("nel_action.model_servers.registry").server(kind)
    return found
