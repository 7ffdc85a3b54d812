"""A job bound to a cluster: the harness's command and the server's, as they are where they will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from nel_action.executors.auxiliary import spec_references, substitute_in_task
from nel_action.executors.hooks import with_hooks
from nel_action.executors.slurm.containers import Box, root_of
from nel_action.executors.slurm.layout import JobDir
from nel_action.executors.slurm.model_server import MODEL, Service, server_kind, services
from nel_action.harnesses.interface import Binding, Command
from nel_action.harnesses.registry import harness
from nel_action.model.task import HarnessTask
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution

__all__ = ["BoundJob"]


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
        return self.job.deployment if isinstance(self.job.deployment, ServedDeployment) else None

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """All servers of the job, the model's first."""
        return services(self.job, self.settings, self.place)

    @cached_property
    def further(self) -> tuple[Service, ...]:
        """Servers beside the model's."""
        return tuple(one for one in self.services if one.label != MODEL)

    @property
    def nodes(self) -> int:
        """Nodes of the allocation."""
        return self.settings.num_nodes + sum(one.nodes for one in self.further)

    @property
    def root(self) -> PurePosixPath:
        """Where programs see the job's `run` directory."""
        return root_of(self.settings.runtime, self.place.run)

    @cached_property
    def url(self) -> str:
        """The route that the harness speaks to."""
        if self.deployment is None:
            return self.job.target.api_endpoint.url or ""
        server = self.services[0]
        return f"{server.base}{server_kind(server.kind).route(self.deployment, self.job.task.endpoint_type)}"

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
        found = harness(self.job.harness).command(self._task(), binding)
        return with_hooks(found, self.job)

    def _task(self) -> HarnessTask:
        """Return the task with what it says of further servers filled in."""
        task = self.job.task
        known: dict[str, str] = {}
        for name, one in zip(self.job.auxiliary, self.further, strict=True):
            known |= spec_references(name, one.prefix, one.facts)
        return substitute_in_task(task, known)

    @cached_property
    def evaluation_env(self) -> Mapping[str, str]:
        """Plain variables of the harness."""
        facts = {name: value for one in self.further for name, value in one.facts.items()}
        data = {"NEMO_EVALUATOR_DATASET_DIR": self.dataset[1]} if self.dataset else {}
        return facts | data | dict(self.command.env)

    @property
    def evaluation_names(self) -> tuple[str, ...]:
        """Variables that the harness reads."""
        own = {*self.job.env, *self.evaluation_env, *self.command.secret_env}
        return tuple(sorted(own | ({"NVIDIA_VISIBLE_DEVICES"} if self.settings.evaluation_gpu_visible else set())))

    @property
    def files(self) -> Mapping[str, str]:
        """Text files that commands read, by path relative to where they run."""
        servers = {name: text for one in self.services for name, text in one.command.files.items()}
        return servers | dict(self.command.files)

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
