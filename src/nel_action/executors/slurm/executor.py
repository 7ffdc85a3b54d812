"""The executor of Slurm clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from nel_action.errors import Problem
from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.slurm.archive import payload
from nel_action.executors.slurm.cancel import cancel
from nel_action.executors.slurm.collect import collect
from nel_action.executors.slurm.find import find, sweep
from nel_action.executors.slurm.logs import stream
from nel_action.executors.slurm.outage import outlast
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.script import script
from nel_action.executors.slurm.slurm_job import BoundJob
from nel_action.executors.slurm.ssh.connection import open_transport
from nel_action.executors.slurm.status.observation import Observer
from nel_action.executors.slurm.submit import place
from nel_action.model.job import Attempt, JobStatus, Key, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.slurm import SlurmExecution

__all__ = ["SlurmExecutor"]

Answer = TypeVar("Answer")

POLL_INTERVAL: Final = (2.0, 60.0)
"""Seconds between looks. A controller serves everybody; most sites ask for at least half a minute."""


class SlurmExecutor:
    """Runs jobs on a Slurm cluster, reached by SSH or from a login node."""

    def __init__(self, settings: SlurmExecution, workspace: ExecutorContext) -> None:
        self._settings = settings
        self._workspace = workspace
        self._swept = False

    @property
    def poll_interval(self) -> tuple[float, float]:
        """Seconds between looks: at first, and at most after backing off."""
        return POLL_INTERVAL

    @cached_property
    def remote(self) -> Remote:
        """The login node; connected at the first command."""
        settings = self._settings
        transport = open_transport(settings, self._workspace.environ, self._workspace.base_dir)
        return Remote(
            transport,
            bin_dir=settings.bin_dir,
            login_shell=settings.login_shell,
            seconds=settings.command_timeout,
        )

    @cached_property
    def _observer(self) -> Observer:
        return Observer(self.remote, self._settings.output_dir.rstrip("/"))

    def _bind(self, job: Job, number: int) -> BoundJob:
        return BoundJob(job, number, self._settings, self._workspace.base_dir)

    def _outlast(self, action: Callable[[], Answer]) -> Answer:
        return outlast(action, self._settings.outage_timeout)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Say what would keep the plan from running there."""
        from nel_action.executors.slurm.check import check

        return check(self.remote, self._settings, [self._bind(job, 1) for job in plan.jobs])

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digests that references already hold; registries are asked by the compute nodes alone."""
        return {image: image.partition("@")[2] for image in images if "@" in image}

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt under each key.

        Raises:
            UnreachableError: the cluster did not answer.
        """
        output_dir, days = self._settings.output_dir, self._settings.keep_days
        found = self._outlast(lambda: find(self.remote, output_dir, keys))
        if not self._swept:
            self._outlast(lambda: sweep(self.remote, output_dir, keys, days))
            self._swept = True
        return newest(found)

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Submit an attempt, or return the one that is there.

        Raises:
            SecretError: a variable has no value here.
            ExecutorError: Slurm refuses it.
            UnreachableError: it is not known whether it was submitted; `find` or another call tells.
        """
        bound = self._bind(job, number)
        archive = payload(bound, invocation, self._workspace.environ)
        identity = self._outlast(
            lambda: place(
                self.remote,
                output_dir=self._settings.output_dir,
                name=bound.place.name,
                script=bound.script_name,
                archive=archive,
            )
        )
        return Attempt(key=job.key, number=number, backend_id=identity)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Look at all of them in at most two round trips, and take out of the queue what can never start."""
        statuses = self._observer.look(attempts)
        if doomed := self._observer.doomed:
            self.remote.run(["scancel", *map(str, doomed)])
            self._observer.doomed = []
        return statuses

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Stream what the harness says.

        Raises:
            UnreachableError: the cluster does not answer.
        """
        path = self._observer.place(attempt).client_log

        def ended() -> bool:
            return self.poll([attempt])[attempt.key].state.final

        return stream(self.remote, path, follow=follow, ended=ended)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """End them, and see that they ended.

        Raises:
            ExecutorError: some still run.
            UnreachableError: the cluster does not answer.
        """
        if attempts:
            places = [self._observer.place(attempt) for attempt in attempts]
            self._outlast(lambda: cancel(self.remote, places))

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Bring artifacts and logs home, whole.

        Raises:
            CollectError: they did not come whole.
        """
        collect(self.remote, self._observer.place(attempt), into, patience=self._settings.outage_timeout)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the batch script."""
        bound = self._bind(job, number)
        return {bound.script_name: script(bound)}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:  # noqa: ARG002 each job has a script of its own
        """Return nothing: a cluster's jobs are submitted one by one."""
        return {}

    def describe(self, attempt: Attempt) -> Mapping[str, str]:
        """Say where everything of an attempt lies on the cluster."""
        place = self._observer.place(attempt)
        user = f"{self._settings.username}@" if self._settings.username else ""
        return {
            "host": f"{user}{self._settings.hostname}",
            "job": attempt.backend_id,
            "directory": str(place.path),
            "script": f"{place.path}/sbatch_*.sh",
            "artifacts": f"{place.run}/artifacts",
            "logs": str(place.logs),
            "state": str(place.state),
        }

    @property
    def poll_group(self) -> str:
        """What executors have in common that one of them can look for: the login node and how it is reached."""
        reach = {"bin_dir", "hostname", "key_file", "key_name", "login_shell", "port", "proxy_jump", "username"}
        return f"slurm {self._settings.model_dump_json(include=reach)}"

    def adopt(self, other: Executor, attempts: Sequence[Attempt]) -> None:
        """Learn where attempts of another executor lie, so that `poll` can look at them too."""
        if isinstance(other, SlurmExecutor):
            for attempt in attempts:
                place = other._observer.place(attempt)  # noqa: SLF001 one of our own kind
                self._observer.directories.setdefault(place.name, place)

    def close(self) -> None:
        """Hang up."""
        if "remote" in self.__dict__:
            self.remote.close()
