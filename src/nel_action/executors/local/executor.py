"""The local executor: jobs on this machine, run by a supervisor that outlives the submitter."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, ExecutorError, NelActionError, Problem, UnreachableError
from nel_action.executors.gateway import progress_with_counters
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.attempt import AttemptDir, JobRecord, utc_timestamp
from nel_action.executors.local.check import check
from nel_action.executors.local.collect import collect
from nel_action.executors.local.docker.engine import docker_client
from nel_action.executors.local.docker.images import resolve_digests
from nel_action.executors.local.gateway import RECORD_ROOT, counters_file
from nel_action.executors.local.logs import last_line, stream, tail
from nel_action.executors.local.scripts import plan_scripts, run_script
from nel_action.executors.local.secrets import env_references, read_host_variables
from nel_action.executors.local.store import Queue, Store
from nel_action.executors.local.supervisor import ensure_supervisor, last_error
from nel_action.executors.local.validation import validate
from nel_action.executors.records import close_record
from nel_action.gateway.listing import record_lines
from nel_action.model.job import Attempt, JobState, JobStatus, Key, attempt_name, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.planning.task_resolution import Locate
from nel_action.retry import Backoff, poll_until
from nel_action.spec.execution import LocalExecution
from nel_action.spec.model import Spec

__all__ = ["LocalExecutor"]

logger = logging.getLogger(__name__)

CANCEL_TIMEOUT: Final = 60.0
"""Seconds until cancelled jobs must have stopped; the escalation of signals takes at most 15."""

CANCEL_INTERVAL: Final = Backoff(initial=0.1, factor=1.0, jitter=0.0)
"""Pauses between two checks of cancelled jobs."""

LOG_TAIL: Final = 8192
"""Bytes at the end of the log that a harness's progress is parsed from."""


class LocalExecutor:
    """Runs jobs on this machine under a supervisor process that is independent of the caller."""

    poll_interval: Final = (0.1, 0.5)
    """Short, because a poll only reads a few small files."""

    def __init__(self, settings: LocalExecution, context: ExecutorContext) -> None:
        self._settings = settings
        self._context = context
        self._store = Store(context.home)
        self._records: dict[str, JobRecord] = {}

    def validate(self, spec: Spec, locate: Locate) -> Sequence[Problem]:
        """Return the mistakes of the spec that need no engine to be found."""
        return validate(spec, self._settings, self._context, locate)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Return every problem that would keep the plan from running here."""
        return check(plan, self._settings, self._context)

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digest of each image that the engine or a registry has; empty if no engine is used."""
        if self._settings.runtime != "docker" or not images:
            return {}
        try:
            with docker_client(self._context.environ) as client:
                return resolve_digests(client, images, pull=self._settings.pull)
        except EngineError as error:
            # NOTE: `check` reports problems with the engine before anything runs.
            logger.debug("cannot resolve images: %s", error)
            return {}

    def sweep(self, keys: Sequence[Key]) -> None:
        """Retain the attempts of these keys; supervisors remove expired ones themselves."""
        self._store.retain(keys)

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the latest attempt of each key."""
        return newest(attempt.attempt() for attempt in self._store.find(keys) if attempt.exists())

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Add an attempt to the invocation's queue and ensure that a supervisor runs it.

        Raises:
            SecretError: a variable is not set.
            ExecutorError: the attempt cannot be written.
            UnreachableError: it was written, but the supervisor cannot be started; any later command starts it.
        """
        attempt = self._store.at(job.key, number)
        if not attempt.exists():
            self._create(job, number, invocation)
        try:
            self._ensure_supervised(attempt)
        except ExecutorError as error:
            # NOTE: not a rejection: the attempt exists, and runs as soon as any supervisor of the queue starts.
            raise UnreachableError(error.problems[0].message, hint=error.problems[0].hint) from error
        return attempt.attempt()

    def _create(self, job: Job, number: int, invocation: str) -> None:
        values = read_host_variables(env_references(job), self._context.environ)
        local_job, copies = self._localise(job)
        record = JobRecord(
            job=local_job,
            number=number,
            invocation=invocation,
            settings=self._settings,
            base_dir=self._context.base_dir.absolute(),
            submitted=utc_timestamp(),
        )
        queue = self._store.queue(invocation).create()
        name = attempt_name(job.key, number)
        queue.add(name)
        created = self._store.create(record, values=values, copies=copies)
        if created:
            logger.debug("created %s", self._store.at(job.key, number).path)
        elif self._record(self._store.at(job.key, number)).invocation != invocation:
            # NOTE: not removed for the same invocation: another caller added the name too, and needs it.
            queue.remove(name)

    def _localise(self, job: Job) -> tuple[Job, dict[str, Path]]:
        """Make paths absolute, and list the files to copy so that later changes do not affect the job."""
        base = self._context.base_dir.absolute()
        copies = {"task": base / job.task.task_dir} if job.task.task_dir else {}
        if job.requirements:
            copies["requirements.txt"] = base / job.requirements
        dataset = (str(base / job.dataset[0]), job.dataset[1]) if job.dataset else None
        task = replace(job.task, task_dir=copies.get("task"))
        return replace(job, task=task, dataset=dataset), copies

    def _ensure_supervised(self, attempt: AttemptDir) -> bool:
        """Ensure that an unfinished attempt has a supervisor; return whether one was started."""
        if attempt.finished:
            return False
        return self._ensure_supervisor(self._store.queue(self._record(attempt).invocation))

    def _ensure_supervisor(self, queue: Queue) -> bool:
        return ensure_supervisor(self._store, queue, self._context.environ)

    def _record(self, attempt: AttemptDir) -> JobRecord:
        if attempt.name not in self._records:
            self._records[attempt.name] = attempt.record()
        return self._records[attempt.name]

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return each attempt's status as recorded in its directory."""
        return {attempt.key: self._status(self._store.at(attempt.key, attempt.number)) for attempt in attempts}

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        """Start a supervisor for each invocation that lost its own; its running attempts become unknown."""
        updated = dict(statuses)
        unfinished = [self._store.at(a.key, a.number) for a in attempts if not statuses[a.key].state.final]
        for invocation, attempt in self._by_invocation(unfinished).items():
            if self._ensure_supervised(attempt):
                error = last_error(self._store.queue(invocation))
                _mark_unknown(updated, unfinished, error)
        for queue in self._store.queues_with_servers():
            # NOTE: a supervisor that was killed may have left a model server running.
            self._ensure_supervisor(queue)
        return updated

    def _by_invocation(self, attempts: Sequence[AttemptDir]) -> dict[str, AttemptDir]:
        """Return one attempt of each invocation."""
        representatives: dict[str, AttemptDir] = {}
        for attempt in attempts:
            with suppress(ExecutorError):
                representatives[self._record(attempt).invocation] = attempt
        return representatives

    def _status(self, attempt: AttemptDir) -> JobStatus:
        try:
            if (outcome := attempt.exit_record()) is not None:
                return outcome.status()
            record = self._record(attempt)
        except ExecutorError as error:
            return JobStatus(state=JobState.UNKNOWN, detail=str(error).replace("\n", "; "))
        if (unobserved := attempt.unobserved()) is not None:
            return JobStatus(state=JobState.UNKNOWN, detail=unobserved)
        if (started := attempt.start_record()) is None:
            return JobStatus(state=JobState.PENDING, detail=_pending_detail(attempt))
        return self._running_status(attempt, record, utc_timestamp(started.at))

    def _running_status(self, attempt: AttemptDir, record: JobRecord, started: str) -> JobStatus:
        from nel_action.harnesses.registry import harness

        try:
            program = harness(record.job.harness)
            progress = program.progress(attempt.artifacts, tail(attempt.client_log, LOG_TAIL))
            progress = progress_with_counters(program, progress, counters_file(attempt))
        except NelActionError:
            progress = None
        return JobStatus(state=JobState.RUNNING, started=started, progress=progress)

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Yield the output of the attempt's preparation and harness, with secrets redacted."""
        directory = self._store.at(attempt.key, attempt.number)
        return stream(directory, follow=follow, ensure_supervised=self._ensure_supervised)

    def supervisor_log(self, invocation: str) -> Path:
        """Return the path of the log of an invocation's supervisor."""
        return self._store.queue(invocation).log

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Ask the supervisors to cancel attempts, and wait until they have stopped.

        Raises:
            ExecutorError: some are still running; the message names them.
        """
        directories = [self._store.at(attempt.key, attempt.number) for attempt in attempts]
        remaining = [directory for directory in directories if directory.exists() and not directory.finished]
        for directory in remaining:
            directory.request_cancel()

        def stopped() -> bool | None:
            nonlocal remaining
            remaining = [directory for directory in remaining if not directory.finished]
            for directory in self._by_invocation(remaining).values():
                self._ensure_supervised(directory)
            return None if remaining else True

        poll_until(stopped, deadline=time.monotonic() + CANCEL_TIMEOUT, backoff=CANCEL_INTERVAL)
        if remaining:
            names = ", ".join(directory.name for directory in remaining)
            msg = f"cannot cancel {names}: still running after {CANCEL_TIMEOUT:g} s"
            raise ExecutorError(msg, hint="try again; `nel-action logs --supervisor` shows the cause")

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Copy artifacts and logs.

        Raises:
            CollectError: the copy would be incomplete.
        """
        collect(self._store.at(attempt.key, attempt.number).path, into)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return `run.sh`."""
        base = self._context.base_dir.absolute()
        return {"run.sh": run_script(self._localise(job)[0], number, self._settings, base)}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        """Return `run_all.sh`, and `serve.sh` if the spec serves the model."""
        local_plan = replace(plan, jobs=tuple(self._localise(job)[0] for job in plan.jobs))
        return plan_scripts(local_plan, self._settings, self._context.base_dir.absolute())

    def close_record(self, attempt: Attempt) -> None:
        """Close the record of the attempt's job."""
        close_record(self._context.home / RECORD_ROOT, attempt.key)

    def record_lines(self, attempt: Attempt, *, failed: bool) -> Iterator[str]:
        """Yield the recorded requests of the attempt's job as JSON lines."""
        return record_lines(str(self._context.home / RECORD_ROOT / attempt.key), failed=failed)

    def close(self) -> None:
        """Do nothing; there are no connections."""


def _mark_unknown(statuses: dict[Key, JobStatus], attempts: Sequence[AttemptDir], error: str) -> None:
    """Replace the state running by unknown: without a supervisor, the end of an attempt was not recorded."""
    detail = f"its supervisor had stopped and was restarted{f' (last message: {error})' if error else ''}"
    for attempt in attempts:
        if statuses[attempt.key].state is JobState.RUNNING:
            statuses[attempt.key] = JobStatus(state=JobState.UNKNOWN, detail=detail)


def _pending_detail(attempt: AttemptDir) -> str:
    """Describe what a pending job waits for, with the last line of its setup."""
    phase = attempt.phase()
    if phase is None:
        return "queued"
    output = last_line(attempt.setup_log) if phase.startswith(("installing ", "pulling ")) else ""
    return f"{phase}: {output}" if output else phase
