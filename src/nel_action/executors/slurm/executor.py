"""Executor for Slurm clusters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

from nel_action.errors import CollectError, ExecutorError, Problem, UnreachableError
from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.slurm.archive import attempts_archive
from nel_action.executors.slurm.cleanup import cancel_attempts, close_record, read_record, remove_expired
from nel_action.executors.slurm.layout import AttemptDir
from nel_action.executors.slurm.remote import KEPT, RemoteShell, open_transport, retry_outages
from nel_action.executors.slurm.script import batch_script
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.executors.slurm.status.observation import Observer
from nel_action.executors.slurm.submission import BatchSubmission, list_attempts
from nel_action.executors.slurm.transfer import Listing, collect, list_files, stream_log
from nel_action.model.job import Attempt, JobStatus, Key, attempt_name, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.slurm import SlurmExecution

__all__ = ["SlurmExecutor"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

LISTED_TOGETHER: Final = 500
"""Attempts whose files are listed with one command."""

POLL_INTERVAL: Final = (2.0, 60.0)
"""Shortest and longest pause between polls, in seconds; many sites ask for at least half a minute."""


class SlurmExecutor:
    """Runs jobs on a Slurm cluster, over SSH or from a login node."""

    def __init__(self, settings: SlurmExecution, context: ExecutorContext) -> None:
        self._settings = settings
        self._context = context
        self._swept = False
        self._to_list: dict[str, AttemptDir] = {}
        """Attempts that are going to be collected and whose files have not been listed."""
        self._listings: dict[str, Listing] = {}
        """Files of attempts that are going to be collected."""

    @property
    def poll_interval(self) -> tuple[float, float]:
        """Shortest and longest pause between polls, in seconds."""
        return POLL_INTERVAL

    @cached_property
    def remote(self) -> RemoteShell:
        """The login node; connected by the first command."""
        settings = self._settings
        transport = open_transport(settings, self._context.environ, self._context.base_dir)
        return RemoteShell(
            transport,
            bin_dir=settings.bin_dir,
            login_shell=settings.login_shell,
            seconds=settings.command_timeout,
            preset=[name for name in KEPT if name not in _sbatch_options(settings)],
        )

    @cached_property
    def _observer(self) -> Observer:
        return Observer(self.remote, self._settings.output_dir.rstrip("/"))

    def _slurm_job(self, job: Job, number: int) -> SlurmJob:
        return SlurmJob(job, number, self._settings, self._context.base_dir)

    def _retry_outages(self, call: Callable[[], T]) -> T:
        return retry_outages(call, self._settings.outage_timeout)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Return the problems that would prevent the plan from running on the cluster."""
        from nel_action.executors.slurm.check import check

        slurm_jobs = [self._slurm_job(job, 1) for job in plan.jobs]
        return self._retry_outages(lambda: check(self.remote, self._settings, slurm_jobs))

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digests written in image references; only compute nodes contact registries."""
        return {image: image.partition("@")[2] for image in images if "@" in image}

    def sweep(self, keys: Sequence[Key]) -> None:
        """Remove expired secrets and directories, once per executor; nothing that belongs to `keys`.

        Raises:
            UnreachableError: the login node does not answer.
        """
        if not self._swept:
            output_dir, days = self._settings.output_dir, self._settings.keep_days
            self._retry_outages(lambda: remove_expired(self.remote, output_dir, keys, days))
            self._swept = True

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt under each key.

        Raises:
            UnreachableError: the login node or the controller does not answer.
        """
        return newest(self._retry_outages(lambda: list_attempts(self.remote, self._settings.output_dir, keys)))

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Submit an attempt, or return it if it exists.

        Args:
            job: the job.
            number: number of the attempt.
            invocation: ID of the invocation, for the attempt's `job.json`.

        Raises:
            SecretError: a variable is not set.
            QueueFullError: Slurm accepts no further job now.
            ExecutorError: Slurm rejects the job.
            UnreachableError: the outcome is unknown; `find` or another call looks it up.
        """
        outcome = self.submit_many([(job, number)], invocation)[job.key]
        if isinstance(outcome, Attempt):
            return outcome
        raise outcome

    @property
    def parallelism(self) -> int:
        """Number of jobs of an invocation that may be in the queue at the same time."""
        return self._settings.parallelism

    def submit_many(
        self, jobs: Sequence[tuple[Job, int]], invocation: str
    ) -> Mapping[Key, Attempt | ExecutorError | UnreachableError]:
        """Submit attempts with one command for hundreds of jobs.

        Args:
            jobs: jobs with the numbers of their attempts.
            invocation: ID of the invocation, for the attempts' `job.json`.

        Returns:
            For every key the attempt or the error.

        Raises:
            SecretError: a variable is not set.
        """
        slurm_jobs = [self._slurm_job(job, number) for job, number in jobs]
        batch = BatchSubmission(
            self.remote,
            self._settings.output_dir,
            {each.directory.name: each for each in slurm_jobs},
            lambda pending: attempts_archive(pending, invocation, self._context.environ),
        )
        outcomes: dict[Key, Attempt | ExecutorError | UnreachableError] = {}
        try:
            self._retry_outages(batch.run)
        except UnreachableError as error:
            outcomes = {each.job.key: error for each in batch.pending.values()}
        for each in slurm_jobs:
            answer = batch.answers.get(each.directory.name)
            if isinstance(answer, str):
                outcomes[each.job.key] = Attempt(key=each.job.key, number=each.number, backend_id=answer)
            elif answer is not None:
                outcomes[each.job.key] = answer
        return outcomes

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return the status of every attempt in at most two round trips."""
        return self._observer.poll(attempts)

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        """Cancel queued jobs that can never start.

        Args:
            attempts: the polled attempts.
            statuses: their statuses.

        Returns:
            The statuses, unchanged.

        Raises:
            UnreachableError: the login node does not answer.
        """
        queued = self._observer.unschedulable
        names = [attempt_name(each.key, each.number) for each in attempts if statuses[each.key].state.final]
        unschedulable = [name for name in names if name in queued]
        if unschedulable:
            logger.info("cancelling jobs that can never start: %s", ", ".join(unschedulable))
            self.remote.run(["scancel", *(str(job_id) for name in unschedulable for job_id in queued[name])])
            for name in unschedulable:
                queued.pop(name, None)
        return statuses

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Stream the output of the harness line by line.

        Args:
            attempt: the attempt.
            follow: whether to continue until the attempt has finished.

        Raises:
            UnreachableError: the login node does not answer.
        """

        def finished() -> bool:
            return self.poll([attempt])[attempt.key].state.final

        return stream_log(self.remote, self._observer.directory(attempt).client_log, follow=follow, finished=finished)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Cancel attempts and wait until their jobs have stopped.

        Raises:
            ExecutorError: jobs are still in the queue.
            UnreachableError: the cluster does not answer.
        """
        if attempts:
            directories = [self._observer.directory(attempt) for attempt in attempts]
            self._retry_outages(lambda: cancel_attempts(self.remote, directories))

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Copy complete artifacts and logs into `into`.

        Raises:
            CollectError: they are incomplete.
        """
        directory = self._observer.directory(attempt)
        listing = self._listing(directory)
        collect(self.remote, directory, into, listing=listing, outage_seconds=self._settings.outage_timeout)

    def expect_collection(self, attempts: Sequence[Attempt]) -> None:
        """Announce the attempts that are going to be collected; the first collection lists the files of all."""
        directories = [self._observer.directory(attempt) for attempt in attempts]
        self._to_list = {directory.name: directory for directory in directories}

    def _listing(self, directory: AttemptDir) -> Listing | None:
        """Return the files of an announced attempt; None if they have to be listed for it alone."""
        if directory.name in self._to_list:
            self._to_list.pop(directory.name)
            others = list(self._to_list.values())[: LISTED_TOGETHER - 1]
            self._to_list = {name: each for name, each in self._to_list.items() if each not in others}
            # NOTE: an error is reported by the collection of the attempt that causes it.
            with suppress(UnreachableError, CollectError):
                self._listings |= list_files(self.remote, [directory, *others])
        return self._listings.pop(directory.name, None)

    def close_record(self, attempt: Attempt) -> None:
        """Close the record of the job's requests."""
        close_record(self.remote, self._settings.output_dir, attempt.key)

    def record_lines(self, attempt: Attempt, *, failed: bool) -> Iterator[str]:
        """Yield the recorded requests of the job as JSON lines, read on the login node."""
        return read_record(self.remote, self._settings.output_dir, attempt.key, failed=failed)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the batch script by file name."""
        slurm_job = self._slurm_job(job, number)
        return {slurm_job.script_name: batch_script(slurm_job)}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:  # noqa: ARG002
        """Return nothing: each job has a script of its own."""
        return {}

    def describe(self, attempt: Attempt) -> Mapping[str, str]:
        """Return where the files of an attempt are on the cluster."""
        directory = self._observer.directory(attempt)
        user = f"{self._settings.username}@" if self._settings.username else ""
        return {
            "host": f"{user}{self._settings.hostname}",
            "job": attempt.backend_id,
            "directory": str(directory.path),
            "script": f"{directory.path}/sbatch_*.sh",
            "artifacts": f"{directory.run}/artifacts",
            "logs": str(directory.logs),
            "state": str(directory.state),
        }

    @property
    def poll_group(self) -> str:
        """The login node and how it is reached; executors with the same one can poll for each other."""
        access = {"bin_dir", "hostname", "key_file", "key_name", "login_shell", "port", "proxy_jump", "username"}
        return f"slurm {self._settings.model_dump_json(include=access)}"

    def adopt(self, other: Executor, attempts: Sequence[Attempt]) -> None:
        """Take over the directories of another executor's attempts, so that `poll` can observe them."""
        if isinstance(other, SlurmExecutor):
            for attempt in attempts:
                directory = other._observer.directory(attempt)  # noqa: SLF001 the same class
                self._observer.directories.setdefault(directory.name, directory)

    def close(self) -> None:
        """Close the connection."""
        if "remote" in self.__dict__:
            self.remote.close()


def _sbatch_options(settings: SlurmExecution) -> set[str]:
    """Return the names of the options that the spec sets."""
    fields = {name for name in ("account", "partition", "qos") if getattr(settings, name) is not None}
    return fields | set(settings.sbatch_extra_flags)
