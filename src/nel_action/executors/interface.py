"""The executor protocol: where jobs run, and how they are found again by their keys.

The backend is the source of truth and the ledger caches it. `find` must therefore return everything that `submit`
created, even if the response to `submit` was lost, and `submit` must be idempotent: called again for an attempt that
exists, it returns that attempt.

Optional capabilities are separate protocols (`BatchCollecting`, `BatchSubmitting`, `Describing`, `Maintaining`,
`Pooling`, `Recording`, `Releasing`, `Supervising`, `Surveying`, `Validating`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from nel_action.errors import ExecutorError, Problem, UnreachableError
from nel_action.model.job import Attempt, JobStatus, Key
from nel_action.planning.jobs import Job, Plan
from nel_action.planning.task_resolution import Locate
from nel_action.spec.model import Spec

__all__ = [
    "BatchCollecting",
    "BatchSubmitting",
    "Describing",
    "Executor",
    "ExecutorContext",
    "Maintaining",
    "Pooling",
    "Recording",
    "Releasing",
    "Supervising",
    "Surveying",
    "Validating",
    "find_attempts",
    "poll_attempts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorContext:
    """The parts of this machine that an executor may use."""

    home: Path
    """`$NEL_ACTION_HOME`: caches, and the store of the local executor."""
    environ: Mapping[str, str] = field(repr=False)
    """Source of the values of `host:` variables; read as late as possible."""
    base_dir: Path
    """Directory of the spec; relative paths in the spec start here."""


class Executor(Protocol):
    """A backend that runs jobs; constructed from the spec's `execution` section and an `ExecutorContext`."""

    @property
    def poll_interval(self) -> tuple[float, float]:
        """Seconds between two polls: the initial and the maximum interval of the backoff."""

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Validate the plan against the backend (access, permissions, images, limits) before anything is submitted."""

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digest of each image that this executor can pin; omit the others."""

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the latest attempt of each key that the backend knows; omit the others. Changes nothing.

        Raises:
            UnreachableError: the backend did not answer, which must not be mistaken for an empty result.
        """

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Submit one attempt of a job, or return it if it exists.

        Args:
            job: the job to run.
            number: the attempt's number, 1 or more.
            invocation: ID of the submitting invocation.

        Raises:
            QueueFullError: the backend accepts no further job for the moment; nothing was submitted.
            ExecutorError: the backend rejected the job.
            UnreachableError: the backend did not answer; only `find` shows whether the job exists.
        """

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return the status of every attempt, in one round trip. Changes nothing.

        An attempt that could not be observed has the state `UNKNOWN`; none is omitted.
        """

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Yield the lines of the attempt's log; with `follow`, until the attempt has finished."""

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Cancel attempts and wait until they have stopped.

        Raises:
            ExecutorError: some are still running; the message names them.
        """

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Copy the complete `artifacts/` and `logs/` of an attempt into a directory.

        Raises:
            CollectError: the copy would be incomplete; `into` is unchanged.
        """

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the scripts of an attempt (file name → text), such as `run.sh`; without secrets, runnable by hand."""

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        """Return the scripts that run the complete plan by hand (`run_all.sh`); empty if there are none."""

    def close(self) -> None:
        """Close connections; never affects jobs."""


@runtime_checkable
class BatchCollecting(Protocol):
    """An executor that collects many attempts with fewer requests if it knows them in advance."""

    def expect_collection(self, attempts: Sequence[Attempt]) -> None:
        """Announce the attempts that are going to be collected one after the other; contacts nothing."""


@runtime_checkable
class BatchSubmitting(Protocol):
    """An executor that submits many jobs with a constant number of requests."""

    @property
    def parallelism(self) -> int:
        """Number of jobs of an invocation that may be on the backend at the same time."""

    def submit_many(
        self, jobs: Sequence[tuple[Job, int]], invocation: str
    ) -> Mapping[Key, Attempt | ExecutorError | UnreachableError]:
        """Submit attempts, each as `Executor.submit` does; one failure prevents no other submission.

        Args:
            jobs: jobs with the numbers of their attempts; their keys are distinct.
            invocation: ID of the submitting invocation.

        Returns:
            For every key the attempt, or the error that `submit` would raise.
        """


@runtime_checkable
class Describing(Protocol):
    """An executor that can describe where an attempt is stored on its backend."""

    def describe(self, attempt: Attempt) -> Mapping[str, str]:
        """Return labels and locations (`directory`, `logs`) in display order."""


@runtime_checkable
class Validating(Protocol):
    """An executor that finds mistakes of a spec without its backend."""

    def validate(self, spec: Spec, locate: Locate) -> Sequence[Problem]:
        """Return the mistakes, with their source positions; called before the plan is made, also by a dry run.

        Args:
            spec: the spec.
            locate: maps a key to its source position.
        """


@runtime_checkable
class Releasing(Protocol):
    """An executor that creates more than jobs for an invocation and can remove all of it."""

    def release(self, invocation: str) -> None:
        """Remove everything that was created for an invocation, recorded or not; called when all of it is cancelled.

        Raises:
            NelActionError: something could not be removed.
        """


@runtime_checkable
class Recording(Protocol):
    """An executor whose gateways record the answers to a job's requests."""

    def close_record(self, attempt: Attempt) -> None:
        """Close the record of an attempt's job: a measurable result was collected, so that nothing is replayed again.

        Raises:
            NelActionError: it could not be closed.
        """

    def record_lines(self, attempt: Attempt, *, failed: bool) -> Iterator[str]:
        """Yield the recorded requests of an attempt's job as JSON lines, those of all attempts.

        Args:
            attempt: one of the job's attempts.
            failed: only those whose answer no harness can use.

        Raises:
            NelActionError: the record cannot be read.
        """


@runtime_checkable
class Supervising(Protocol):
    """An executor that runs jobs under a supervisor process on this machine."""

    def supervisor_log(self, invocation: str) -> Path:
        """Return the path of the log of an invocation's supervisor; the file may not exist yet."""


@runtime_checkable
class Surveying(Protocol):
    """An executor that can report the resources of its backend."""

    def survey(self) -> Sequence[tuple[str, str]]:
        """Return labels and values (`quota used`, …) for `doctor`.

        Raises:
            NelActionError: the backend does not report them.
        """


@runtime_checkable
class Maintaining(Protocol):
    """An executor whose backend needs maintenance while jobs run.

    `find` and `poll` only read. These commands make the changes that are due around them; `find_attempts` and
    `poll_attempts` call them at the right time.
    """

    def sweep(self, keys: Sequence[Key]) -> None:
        """Delete expired resources that no active job needs, except those of `keys`; called before `find`.

        Raises:
            UnreachableError: the backend did not answer.
        """

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        """Act on the result of the last `poll`, for example cancel jobs that can never start; called after `poll`.

        Args:
            attempts: the argument of that `poll`.
            statuses: its result.

        Returns:
            `statuses`, updated where an action changed or invalidated a status.

        Raises:
            UnreachableError: the backend did not answer.
        """


@runtime_checkable
class Pooling(Protocol):
    """An executor that can poll attempts of other executors in the same round trip."""

    @property
    def poll_group(self) -> str:
        """Identifier shared by all executors that can poll for one another."""

    def adopt(self, other: Executor, attempts: Sequence[Attempt]) -> None:
        """Prepare to `poll` attempts of another executor of the same group."""


def find_attempts(executor: Executor, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
    """Sweep the backend if the executor needs it, then return the latest attempt of each key.

    Raises:
        UnreachableError: the backend did not answer.
    """
    if isinstance(executor, Maintaining):
        executor.sweep(keys)
    return executor.find(keys)


def poll_attempts(executor: Executor, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
    """Poll the attempts, let the executor act on the result, and return the resulting statuses."""
    statuses = executor.poll(attempts)
    if isinstance(executor, Maintaining):
        statuses = executor.reconcile(attempts, statuses)
    return statuses
