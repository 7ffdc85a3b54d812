"""The executor of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, ExecutorError, NelActionError, Problem
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.check import check
from nel_action.executors.local.collect import collect
from nel_action.executors.local.docker.engine import engine
from nel_action.executors.local.docker.images import resolve
from nel_action.executors.local.logs import last_line, stream, tail
from nel_action.executors.local.record import JobRecord, moment
from nel_action.executors.local.run_all import all_scripts
from nel_action.executors.local.scripts import run_script
from nel_action.executors.local.secrets import all_references, now
from nel_action.executors.local.store import Store
from nel_action.executors.local.supervisor_processes import last_words, tend
from nel_action.model.job import Attempt, JobState, JobStatus, Key, attempt_name, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.execution import LocalExecution

__all__ = ["LocalExecutor"]

CANCEL_LIMIT: Final = 60.0
"""Seconds to wait for the end of what was cancelled; the ladder of signals takes at most 15."""

LOG_TAIL: Final = 8192
"""Bytes of the log that a harness's progress is read from."""


class LocalExecutor:
    """Runs jobs on this machine; an agent of its own keeps them, whatever becomes of the caller."""

    poll_interval: Final = (0.1, 0.5)
    """A look costs a few small files, and somebody may be watching."""

    def __init__(self, settings: LocalExecution, workspace: ExecutorContext) -> None:
        self._settings = settings
        self._workspace = workspace
        self._store = Store(workspace.home)
        self._records: dict[str, JobRecord] = {}

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Say what would keep the plan from running here."""
        return check(plan, self._settings, self._workspace)

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digest of each image that can be pinned here; none where no engine is needed, or none answers."""
        if self._settings.runtime != "docker" or not images:
            return {}
        try:
            with engine(self._workspace.environ) as client:
                return resolve(client, images, pull=self._settings.pull)
        except EngineError:
            # NOTE: `check` says what is wrong with the engine, before anything runs
            return {}

    def sweep(self, keys: Sequence[Key]) -> None:
        """Retain the attempts under these keys; supervisors remove expired ones themselves."""
        self._store.retain(keys)

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt under each key."""
        return newest(attempt.attempt() for attempt in self._store.find(keys) if attempt.exists())

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Enter an attempt into the invocation's queue, and see that an agent works it.

        Raises:
            SecretError: a variable has no value here.
            ExecutorError: the attempt cannot be written, or the agent cannot be started.
        """
        attempt = self._store.at(job.key, number)
        if not attempt.exists():
            self._enter(job, number, invocation)
        self._tend(attempt)
        return attempt.attempt()

    def _enter(self, job: Job, number: int, invocation: str) -> None:
        values = now(all_references(job), self._workspace.environ)
        local, folders = self._localise(job)
        record = JobRecord(
            job=local,
            number=number,
            invocation=invocation,
            settings=self._settings,
            base_dir=self._workspace.base_dir.absolute(),
            submitted=moment(),
        )
        queue = self._store.queue(invocation).open()
        name = attempt_name(job.key, number)
        queue.announce(name)
        claimed = self._store.claim(record, values=values, folders=folders)
        if not claimed and self._record(self._store.at(job.key, number)).invocation != invocation:
            # NOTE: another caller of this same invocation has announced it just as we did; its agent must find it
            queue.withdraw(name)

    def _localise(self, job: Job) -> tuple[Job, dict[str, Path]]:
        """Make paths absolute, and say what is copied beside the job so that later changes do not reach it."""
        base = self._workspace.base_dir.absolute()
        folders = {"task": base / job.task.task_dir} if job.task.task_dir else {}
        if job.requirements:
            folders["requirements.txt"] = base / job.requirements
        dataset = (str(base / job.dataset[0]), job.dataset[1]) if job.dataset else None
        task = replace(job.task, task_dir=folders.get("task"))
        return replace(job, task=task, dataset=dataset), folders

    def _tend(self, attempt: AttemptDir) -> bool:
        """See that an unfinished attempt has an agent; return whether one had to be started."""
        if attempt.ended:
            return False
        queue = self._store.queue(self._record(attempt).invocation)
        return tend(self._store, queue, self._workspace.environ)

    def _record(self, attempt: AttemptDir) -> JobRecord:
        if attempt.name not in self._records:
            self._records[attempt.name] = attempt.record()
        return self._records[attempt.name]

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Read each attempt's state from its directory."""
        return {attempt.key: self._look(self._store.at(attempt.key, attempt.number)) for attempt in attempts}

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        """Start a supervisor for every invocation that lost its own; its running attempts become unknown."""
        updated = dict(statuses)
        unfinished = [self._store.at(a.key, a.number) for a in attempts if not statuses[a.key].state.final]
        for invocation, attempt in self._by_invocation(unfinished).items():
            if self._tend(attempt):
                words = last_words(self._store.queue(invocation))
                self._mark_lost(updated, unfinished, words)
        for queue in self._store.queues_with_servers():
            # NOTE: a supervisor that was killed may have left a model server running.
            tend(self._store, queue, self._workspace.environ)
        return updated

    def _by_invocation(self, attempts: Sequence[AttemptDir]) -> dict[str, AttemptDir]:
        found: dict[str, AttemptDir] = {}
        for attempt in attempts:
            with suppress(ExecutorError):
                found[self._record(attempt).invocation] = attempt
        return found

    def _mark_lost(self, seen: dict[Key, JobStatus], attempts: Sequence[AttemptDir], words: str) -> None:
        """What ran without an agent may have ended meanwhile: it was not seen."""
        detail = f"its supervisor had ended; another one is looking at it{f' ({words})' if words else ''}"
        for attempt in attempts:
            if seen[attempt.key].state is JobState.RUNNING:
                seen[attempt.key] = JobStatus(state=JobState.UNKNOWN, detail=detail)

    def _look(self, attempt: AttemptDir) -> JobStatus:
        try:
            if (ending := attempt.ending()) is not None:
                return ending.status()
            record = self._record(attempt)
        except ExecutorError as error:
            return JobStatus(state=JobState.UNKNOWN, detail=str(error).replace("\n", "; "))
        if (started := attempt.started()) is None:
            return JobStatus(state=JobState.PENDING, detail=_preparing(attempt))
        return self._running(attempt, record, moment(started.at))

    def _running(self, attempt: AttemptDir, record: JobRecord, started: str) -> JobStatus:
        from nel_action.harnesses.registry import harness

        try:
            progress = harness(record.job.harness).progress(attempt.artifacts, tail(attempt.client_log, LOG_TAIL))
        except NelActionError:
            progress = None
        return JobStatus(state=JobState.RUNNING, started=started, progress=progress)

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Stream what preparing and running it said, secrets hidden."""
        return stream(self._store.at(attempt.key, attempt.number), follow=follow, heal=self._tend)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Ask the agents to end them, and wait until they have.

        Raises:
            ExecutorError: some still run.
        """
        wanted = [self._store.at(attempt.key, attempt.number) for attempt in attempts]
        left = [attempt for attempt in wanted if attempt.exists() and not attempt.ended]
        for attempt in left:
            attempt.request_cancel()
        deadline = time.monotonic() + CANCEL_LIMIT
        while left and time.monotonic() < deadline:
            for attempt in self._by_invocation(left).values():
                self._tend(attempt)
            time.sleep(0.1)
            left = [attempt for attempt in left if not attempt.ended]
        if left:
            msg = f"still running after {CANCEL_LIMIT:g} s: {', '.join(attempt.name for attempt in left)}"
            raise ExecutorError(msg, hint="try again; the agent's log is in the agents folder of the local store")

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Copy artifacts and logs, whole.

        Raises:
            CollectError: they did not come back whole.
        """
        collect(self._store.at(attempt.key, attempt.number).path, into)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return `run.sh`."""
        return {
            "run.sh": run_script(self._localise(job)[0], number, self._settings, self._workspace.base_dir.absolute())
        }

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        """Return `run_all.sh`, and `serve.sh` where the spec serves the model."""
        local = replace(plan, jobs=tuple(self._localise(job)[0] for job in plan.jobs))
        return all_scripts(local, self._settings, self._workspace.base_dir.absolute())

    def close(self) -> None:
        """There is nothing to let go of."""


def _preparing(attempt: AttemptDir) -> str:
    """Say what a job that does not run yet waits for, in the words of whoever prepares it."""
    phase = attempt.phase()
    if phase is None:
        return "waiting for its turn"
    said = last_line(attempt.setup_log) if phase.startswith(("installing ", "pulling ")) else ""
    return f"{phase}: {said}" if said else phase
