"""Servers in a job's allocation: the target's model server, and auxiliary servers on nodes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from nel_action.executors.auxiliary import server_variables, variable_prefix
from nel_action.executors.slurm.containers import ContainerSpec, container_root
from nel_action.executors.slurm.layout import AttemptDir
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.model_servers.registry import server_type
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution

__all__ = ["SERVER_ID", "TARGET_LABEL", "ModelServer", "model_servers"]

TARGET_LABEL: Final = "server"
"""Label of the target's model server."""

COMMON_ENV: Final = {"PYTHONUNBUFFERED": "1"}
"""Variables of every server; unbuffered output reaches the log even if the server is killed."""

NODE_VARIABLES: Final = ("ALL_NODE_IPS", "MASTER_IP", "NODES_PER_INSTANCE", "PROC_ID", "SLURM_PROCID")
"""Variables from which a server on several nodes learns its rank and the addresses of the others."""

SERVER_ID: Final = "NEL_SERVER_ID"
"""Variable that identifies the processes of one instance, so that its port is known to be its own."""

FIRST_PLACEHOLDER: Final = 64_001
"""First number used as a placeholder for a port; numbers that occur in the job are skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServer:
    """One server of a job with all its instances."""

    label: str
    """`server`, or `aux_` and the name of an auxiliary server; part of its log files' names."""
    env_prefix: str
    """Prefix of the variables that describe it to the harness."""
    kind: str
    """The deployment's type."""
    deployment: ServedDeployment
    nodes: int
    """Nodes of all instances together."""
    instances: int
    tasks: int
    """Slurm tasks of each instance."""
    port_placeholder: str
    """Replaced by an instance's port when the job runs."""
    address_placeholder: str
    """Replaced by the address and port for clients when the job runs."""
    command: ServeCommand
    container: ContainerSpec

    @property
    def base_url(self) -> str:
        """URL for clients, with a placeholder."""
        return f"http://{self.address_placeholder}"

    @property
    def fixed_port(self) -> bool:
        """Whether the command names its port itself, so that no other can be chosen."""
        texts = [*self.command.argv, *self.command.env.values(), *self.command.files.values()]
        return not any(self.port_placeholder in text for text in texts)

    @property
    def variables(self) -> dict[str, str]:
        """Variables that give the harness its URLs and model."""
        return server_variables(self.deployment, self.env_prefix, self.base_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Resources of a server: nodes and tasks of all instances together."""

    nodes: int
    instances: int
    tasks: int


def model_servers(job: Job, settings: SlurmExecution, directory: AttemptDir) -> tuple[ModelServer, ...]:
    """Return all servers of a job, the target's first.

    Args:
        job: the job.
        settings: the cluster's settings.
        directory: the attempt's directory.
    """
    return tuple(_model_servers(job, settings, directory))


def _model_servers(job: Job, settings: SlurmExecution, directory: AttemptDir) -> Iterator[ModelServer]:
    text = repr(job)
    numbers = (str(number) for number in range(FIRST_PLACEHOLDER, FIRST_PLACEHOLDER + 500) if str(number) not in text)
    if isinstance(job.deployment, ServedDeployment):
        tasks = settings.deployment.n_tasks or settings.num_nodes
        size = Size(nodes=settings.num_nodes, instances=settings.num_instances, tasks=tasks)
        yield _model_server(job.deployment, None, size, settings, directory, numbers)
    for name, deployment in job.auxiliary.items():
        if isinstance(deployment, ServedDeployment):
            nodes = deployment.num_nodes
            size = Size(nodes=nodes, instances=deployment.num_instances, tasks=nodes)
            yield _model_server(deployment, name, size, settings, directory, numbers)


def _model_server(
    deployment: ServedDeployment,
    name: str | None,
    size: Size,
    settings: SlurmExecution,
    directory: AttemptDir,
    numbers: Iterator[str],
) -> ModelServer:
    """Assemble one server.

    Args:
        deployment: its settings.
        name: name of the auxiliary server; None for the target's.
        size: its resources.
        settings: the cluster's settings.
        directory: the attempt's directory.
        numbers: unused numbers for placeholders.
    """
    label = TARGET_LABEL if name is None else f"aux_{name.replace('-', '_')}"
    prefix = "MODEL" if name is None else variable_prefix(name, deployment)
    port, address = next(numbers), f"127.0.0.1:{next(numbers)}"
    # NOTE: servers on other nodes than the harness must listen on an address that it can reach.
    local = name is None and size.instances == 1
    command = _command(deployment, label, "127.0.0.1" if local else "0.0.0.0", port, settings, directory)  # noqa: S104
    return ModelServer(
        label=label,
        env_prefix=prefix,
        kind=deployment.type,
        deployment=deployment,
        nodes=size.nodes,
        instances=size.instances,
        tasks=size.tasks // size.instances,
        port_placeholder=port,
        address_placeholder=address,
        command=command,
        container=_container(deployment, command, settings, directory, name, prefix),
    )


def _command(
    deployment: ServedDeployment, label: str, host: str, port: str, settings: SlurmExecution, directory: AttemptDir
) -> ServeCommand:
    """Return a server's command, its `pre_cmd` included.

    Args:
        deployment: the server's settings.
        label: the server's label.
        host: address to listen on.
        port: placeholder of the port.
        settings: the cluster's settings.
        directory: the attempt's directory.
    """
    root = container_root(settings.runtime, directory.run)
    # NOTE: each auxiliary server has a folder of its own, since two may have files of the same name.
    folder = PurePosixPath("." if label == TARGET_LABEL else label)
    checkpoint = PurePosixPath(deployment.checkpoint_path) if deployment.checkpoint_path else None
    binding = ServeBinding(
        host=host,
        port=int(port),
        work_dir=root / "work" / folder,
        checkpoint=checkpoint if checkpoint is None or settings.runtime == "none" else PurePosixPath("/checkpoint"),
    )
    command = server_type(deployment.type).command(deployment, binding)
    argv, files = command.argv, dict(command.files)
    if deployment.pre_cmd:
        files["pre_server.sh"] = f"{deployment.pre_cmd}\n"
        argv = ("bash", "-c", 'set -e; . "$0"; exec "$@"', str(binding.work_dir / "pre_server.sh"), *argv)
    return ServeCommand(
        argv=argv,
        env=COMMON_ENV | dict(command.env),
        files={str(folder / name): text for name, text in files.items()},
    )


def _container(
    deployment: ServedDeployment,
    command: ServeCommand,
    settings: SlurmExecution,
    directory: AttemptDir,
    name: str | None,
    prefix: str,
) -> ContainerSpec:
    """Return a server's container.

    Args:
        deployment: the server's settings.
        command: the server's command.
        settings: the cluster's settings.
        directory: the attempt's directory.
        name: name of the auxiliary server; None for the target's.
        prefix: prefix of the server's variables.
    """
    mounts = dict(settings.mounts.deployment if name is None else settings.mounts.auxiliary.get(name, {}))
    if deployment.checkpoint_path:
        mounts[deployment.checkpoint_path] = "/checkpoint:ro"
    if deployment.cache_path:
        mounts[deployment.cache_path] = "/cache"
    own_variables = () if name is None else (f"{prefix}_MASTER_IP", f"{prefix}_ALL_NODE_IPS")
    return ContainerSpec(
        runtime=settings.runtime,
        image=deployment.image,
        run_dir=directory.run,
        mounts=mounts,
        env_names=sorted({*NODE_VARIABLES, SERVER_ID, *own_variables, *deployment.env_vars, *command.env}),
        home=settings.mounts.mount_home,
        gpus=bool(settings.gres or settings.gpus_per_node),
        extra_args=settings.runtime_args,
    )
