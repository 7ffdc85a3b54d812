"""A planned job bound to a cluster: commands, servers and containers with the paths of the compute nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from nel_action.executors.auxiliary import spec_references, substitute_in_task
from nel_action.executors.gateway import COUNTERS_FILE, UPSTREAM_KEY, behind_gateway, gateway_url, pack_gateway
from nel_action.executors.hooks import with_hooks
from nel_action.executors.slurm.containers import ContainerSpec, container_root
from nel_action.executors.slurm.layout import AttemptDir
from nel_action.executors.slurm.model_server import TARGET_LABEL, ModelServer, model_servers
from nel_action.gateway.runner import PLACEHOLDER
from nel_action.harnesses.interface import Binding, Command
from nel_action.harnesses.registry import harness
from nel_action.model.task import HarnessTask
from nel_action.model_servers.registry import server_type
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution

__all__ = ["GATEWAY_BASE", "GATEWAY_CONFIG", "RECORD_MOUNT", "SlurmJob", "gateway_member"]

GATEWAY_BASE: Final = f"http://{PLACEHOLDER}"
"""Address in the harness's URL, which `gateway run` replaces."""

GATEWAY_CONFIG: Final = ".nel-gateway.json"
"""Configuration of the gateway in the working directory."""

RECORD_MOUNT: Final = "/nel-record"
"""Records of the job's key in a container that the gateway runs in."""


@cache
def gateway_member() -> str:
    """Return the path of the gateway's program below `output_dir`."""
    return f"gateway/{hashlib.sha256(pack_gateway()).hexdigest()[:16]}.pyz"


@dataclass(frozen=True)
class SlurmJob:
    """Everything from which an attempt's script and files are generated; contains no secrets."""

    job: Job
    number: int
    """Number of the attempt."""
    settings: SlurmExecution
    base_dir: Path = Path()
    """Folder of the spec on this machine."""

    @cached_property
    def directory(self) -> AttemptDir:
        """The attempt's directory."""
        return AttemptDir.of(self.settings.output_dir, self.job.key, self.number)

    @property
    def script_name(self) -> str:
        """File name of the batch script."""
        return f"sbatch_{self.job.name}.sh"

    @property
    def deployment(self) -> ServedDeployment | None:
        """Settings of the target's model server; None if the job starts none."""
        return self.job.deployment if isinstance(self.job.deployment, ServedDeployment) else None

    @cached_property
    def servers(self) -> tuple[ModelServer, ...]:
        """All servers of the job, the target's first."""
        return model_servers(self.job, self.settings, self.directory)

    @cached_property
    def auxiliary_servers(self) -> tuple[ModelServer, ...]:
        """All servers except the target's."""
        return tuple(each for each in self.servers if each.label != TARGET_LABEL)

    @property
    def nodes(self) -> int:
        """Nodes of the allocation."""
        return self.settings.num_nodes + sum(each.nodes for each in self.auxiliary_servers)

    @property
    def root(self) -> PurePosixPath:
        """The attempt's `run` directory as programs see it."""
        return container_root(self.settings.runtime, self.directory.run)

    @cached_property
    def url(self) -> str:
        """URL of the model's route."""
        if self.deployment is None:
            return self.job.target.api_endpoint.url or ""
        target = self.servers[0]
        return f"{target.base_url}{server_type(target.kind).route(self.deployment, self.job.task.endpoint_type)}"

    @property
    def gateway(self) -> bool:
        """Whether the harness reaches its target through the gateway."""
        return self.job.gateway is not None

    @property
    def gateway_program(self) -> PurePosixPath:
        """The gateway's program on the cluster, shared by all attempts."""
        return PurePosixPath(self.settings.output_dir) / gateway_member()

    @property
    def gateway_inside(self) -> bool:
        """Whether the gateway runs in the container of the harness, since nothing can run around it."""
        return self.settings.runtime == "pyxis"

    @property
    def gateway_root(self) -> PurePosixPath:
        """The attempt's `run` directory as the gateway sees it."""
        return self.root if self.gateway_inside else self.directory.run

    @property
    def counters(self) -> PurePosixPath:
        """File with the gateway's counters, as the gateway sees it."""
        logs = self.root / self.directory.logs.name if self.gateway_inside else self.directory.logs
        return logs / COUNTERS_FILE

    @property
    def record(self) -> PurePosixPath:
        """Directory of the records of the job's key."""
        return PurePosixPath(self.settings.output_dir) / "record" / self.job.key

    @property
    def harness_url(self) -> str:
        """URL that the harness sends requests to."""
        return gateway_url(self.url) if self.gateway else self.url

    @property
    def direct_base(self) -> str:
        """Scheme and address of the endpoint."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def tokens(self) -> tuple[str, ...]:
        """Variables in which the harness expects the target's key."""
        name = self.job.target.api_endpoint.api_key_name
        aliases = [alias for alias, source in self.command.secret_env.items() if source == name]
        return tuple(dict.fromkeys([name, *aliases])) if name else ()

    @cached_property
    def dataset(self) -> tuple[str, str] | None:
        """Folder of the dataset on the cluster, and its path as the harness sees it."""
        if self.job.dataset is None:
            return None
        source, target = self.job.dataset
        return (str(self.directory.run / "dataset") if self.copied_dataset else source), target

    @property
    def copied_dataset(self) -> Path | None:
        """Folder of a dataset below the spec's folder, which is sent to the cluster; None for one on the cluster."""
        source = Path(self.job.dataset[0]) if self.job.dataset else None
        local = source is not None and source.is_relative_to(self.base_dir.absolute()) and source.is_dir()
        return source if local else None

    @cached_property
    def command(self) -> Command:
        """Command of the harness, with the task's hooks."""
        binding = Binding(
            url=self.harness_url,
            model_id=self.job.target.api_endpoint.model_id or "",
            output_dir=self.root / "artifacts",
            work_dir=self.root / "work",
            api_key_name=self.job.target.api_endpoint.api_key_name,
            task_dir=self.root / "task" if self.job.task.task_dir else None,
        )
        command = harness(self.job.harness).command(self._task(), binding)
        return with_hooks(command, self.job)

    def _task(self) -> HarnessTask:
        """Return the task with its references to auxiliary servers replaced."""
        references: dict[str, str] = {}
        for name, each in zip(self.job.auxiliary, self.auxiliary_servers, strict=True):
            references |= spec_references(name, each.env_prefix, each.variables)
        job = behind_gateway(self.job) if self.gateway else self.job
        return substitute_in_task(job.task, references)

    @cached_property
    def evaluation_env(self) -> Mapping[str, str]:
        """Variables of the harness with literal values."""
        servers = {name: value for each in self.auxiliary_servers for name, value in each.variables.items()}
        dataset = {"NEMO_EVALUATOR_DATASET_DIR": self.dataset[1]} if self.dataset else {}
        return servers | dataset | dict(self.command.env)

    @property
    def evaluation_names(self) -> tuple[str, ...]:
        """Names of all variables of the harness."""
        names = {*self.job.env, *self.evaluation_env, *self.command.secret_env}
        if self.gateway:
            names |= {"NO_PROXY", "no_proxy"} | ({UPSTREAM_KEY} if self.gateway_inside and self.tokens else set())
        return tuple(sorted(names | ({"NVIDIA_VISIBLE_DEVICES"} if self.settings.evaluation_gpu_visible else set())))

    @property
    def files(self) -> Mapping[str, str]:
        """Text files that the commands read, by path relative to their working directory."""
        server_files = {name: text for each in self.servers for name, text in each.command.files.items()}
        return server_files | dict(self.command.files)

    @property
    def evaluation_container(self) -> ContainerSpec:
        """Container of the harness."""
        mounts = dict(self.settings.mounts.evaluation)
        if self.dataset:
            mounts[self.dataset[0]] = self.dataset[1]
        if self.gateway and self.gateway_inside:
            mounts[str(self.record)] = RECORD_MOUNT
            mounts[str(self.directory.logs)] = f"{self.root}/logs"
        return ContainerSpec(
            runtime=self.settings.runtime,
            image=self.job.image,
            run_dir=self.directory.run,
            mounts=mounts,
            env_names=self.evaluation_names,
            home=self.settings.mounts.mount_home,
            gpus=bool(self.settings.evaluation_gpu_visible),
            extra_args=self.settings.runtime_args,
        )
