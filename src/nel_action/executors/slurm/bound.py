"""A job bound to a cluster: the harness's command and the server's, as they are where they will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.deployment.interface import ServeBinding, ServeCommand, Server
from nel_action.executors.slurm.containers import Box, root_of
from nel_action.executors.slurm.layout import JobDir
from nel_action.harness.interface import Binding, Command
from nel_action.harness.registry import harness
from nel_action.jobs import Job
from nel_action.spec.deployment import NoDeployment, ServedDeployment
from nel_action.spec.slurm import SlurmExecution

__all__ = ["BoundJob"]

FIRST_HOLE: Final = 64_001
"""A port number that stands for one that only the job knows; the next that is nowhere in the job is taken."""

SERVER_NAMES: Final = ("MASTER_IP", "NODES_PER_INSTANCE", "SLURM_PROCID")
"""What a server over several nodes knows itself by."""

HOOKED: Final = """\
set -e
[ ! -e pre_cmd.sh ] || . ./pre_cmd.sh
status=0
"$@" || status=$?
[ ! -e post_cmd.sh ] || . ./post_cmd.sh
exit "$status"
"""


@dataclass(frozen=True)
class BoundJob:
    """Everything of a job that its script and its files are made from; nothing secret."""

    job: Job
    number: int
    settings: SlurmExecution
    base_dir: Path = Path()
    """Folder of the spec on this machine."""

    @cached_property
    def place(self) -> JobDir:
        """Its directory."""
        return JobDir.of(self.settings.output_dir, self.job.key, self.number)

    @property
    def script_name(self) -> str:
        """Name of the batch script."""
        return f"sbatch_{self.job.name}.sh"

    @property
    def deployment(self) -> ServedDeployment | None:
        """What serves the model in the same allocation, if anything does."""
        found = self.job.deployment
        return None if isinstance(found, NoDeployment) else found

    @property
    def kind(self) -> str:
        """The deployment's kind."""
        return str(getattr(self.job.deployment, "type", "none"))

    @cached_property
    def holes(self) -> tuple[str, str]:
        """What stands for the server's port and for the port that the harness speaks to."""
        text = repr(self.job)
        free = [str(number) for number in range(FIRST_HOLE, FIRST_HOLE + 100) if str(number) not in text]
        return free[0], free[1]

    @property
    def root(self) -> PurePosixPath:
        """Where programs see the job's `run` directory."""
        return root_of(self.settings.runtime, self.place.run)

    @cached_property
    def url(self) -> str:
        """The route that the harness speaks to."""
        if self.deployment is None:
            return self.job.target.api_endpoint.url or ""
        route = _server(self.kind).route(self.deployment, self.job.task.endpoint_type)
        return f"http://127.0.0.1:{self.holes[1]}{route}"

    @cached_property
    def dataset(self) -> tuple[str, str] | None:
        """Cluster folder of the data and where the harness sees it."""
        if self.job.dataset is None:
            return None
        source, target = self.job.dataset
        return (str(self.place.run / "dataset") if self.copied_dataset else source), target

    @property
    def copied_dataset(self) -> Path | None:
        """The folder of data beside the spec, which goes along with the job."""
        source = Path(self.job.dataset[0]) if self.job.dataset else None
        beside = source is not None and source.is_relative_to(self.base_dir.absolute()) and source.is_dir()
        return source if beside else None

    @cached_property
    def command(self) -> Command:
        """What evaluates, its hooks included."""
        binding = Binding(
            url=self.url,
            model_id=self.job.target.api_endpoint.model_id or "",
            output_dir=self.root / "artifacts",
            work_dir=self.root / "work",
            api_key_name=self.job.target.api_endpoint.api_key_name,
            task_dir=self.root / "task" if self.job.task.task_dir else None,
        )
        found = harness(self.job.harness).command(self.job.task, binding)
        hooks = {"pre_cmd.sh": self.job.pre_cmd, "post_cmd.sh": self.job.post_cmd}
        texts = {name: f"{text}\n" for name, text in hooks.items() if text}
        if not texts:
            return found
        words = ("bash", "-c", HOOKED, "hooks", *found.argv)
        return Command(argv=words, env=found.env, secret_env=found.secret_env, files={**found.files, **texts})

    @cached_property
    def serve(self) -> ServeCommand | None:
        """What serves the model."""
        if self.deployment is None:
            return None
        several = self.settings.num_instances > 1
        binding = ServeBinding(
            host="0.0.0.0" if several else "127.0.0.1",  # noqa: S104 instances on other nodes are reached from this one
            port=int(self.holes[0]),
            work_dir=self.root / "work",
            checkpoint=self._checkpoint(),
        )
        command = _server(self.kind).command(self.deployment, binding)
        if not self.deployment.pre_cmd:
            return command
        words = ("bash", "-c", 'set -e; . ./pre_server.sh; exec "$@"', "hooks", *command.argv)
        texts = {"pre_server.sh": f"{self.deployment.pre_cmd}\n"}
        return ServeCommand(argv=words, env=command.env, files={**command.files, **texts})

    def _checkpoint(self) -> PurePosixPath | None:
        if self.deployment is None or not self.deployment.checkpoint_path:
            return None
        path = PurePosixPath(self.deployment.checkpoint_path)
        return path if self.settings.runtime == "none" else PurePosixPath("/checkpoint")

    @property
    def evaluation_names(self) -> tuple[str, ...]:
        """Variables that the harness reads."""
        own = {*self.job.env, *self.command.env, *self.command.secret_env}
        return tuple(sorted(own | ({"NVIDIA_VISIBLE_DEVICES"} if self.settings.evaluation_gpu_visible else set())))

    @property
    def files(self) -> Mapping[str, str]:
        """Text files that commands read, by path relative to where they run."""
        return {**(self.serve.files if self.serve else {}), **self.command.files}

    @property
    def evaluation_box(self) -> Box:
        """What the harness runs in."""
        mounts = dict(self.settings.mounts.evaluation)
        if self.dataset:
            mounts[self.dataset[0]] = self.dataset[1]
        return Box(
            runtime=self.settings.runtime,
            image=self.job.image,
            run_dir=self.place.run,
            mounts=mounts,
            env_names=self.evaluation_names,
            home=self.settings.mounts.mount_home,
            gpus=bool(self.settings.evaluation_gpu_visible),
            extra=self.settings.runtime_args,
        )

    @property
    def server_box(self) -> Box:
        """What the server runs in."""
        deployment = self.deployment
        mounts = dict(self.settings.mounts.deployment)
        if deployment is not None and deployment.checkpoint_path:
            mounts[deployment.checkpoint_path] = "/checkpoint:ro"
        if cache := getattr(deployment, "cache_path", None):
            mounts[cache] = "/cache"
        return Box(
            runtime=self.settings.runtime,
            image=deployment.image if deployment else None,
            run_dir=self.place.run,
            mounts=mounts,
            env_names=sorted(
                {*SERVER_NAMES, *(deployment.env_vars if deployment else {}), *(self.serve.env if self.serve else {})}
            ),
            home=self.settings.mounts.mount_home,
            gpus=bool(self.settings.gres or self.settings.gpus_per_node),
            extra=self.settings.runtime_args,
        )


def _server(kind: str) -> Server:
    """Return the kind of server; looked up only where there is one."""
    found: Server = import_module("nel_action.deployment.registry").server(kind)
    return found
