"""What an executor is: a place where jobs run, found again by their keys.

The backend is the truth and our record a cache of it. So every implementation must make `find` see whatever
`submit` may have left behind, even where the answer to `submit` was lost, and `submit` must be safe to call
again for the same attempt: it returns the one that is already there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from nel_action.errors import Problem
from nel_action.model.job import Attempt, JobStatus, Key
from nel_action.planning.jobs import Job, Plan

__all__ = [
    "Describing",
    "Executor",
    "Maintaining",
    "Pooling",
    "Releasing",
    "Surveying",
    "Workspace",
    "find_attempts",
    "poll_attempts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What an executor may use on this machine."""

    home: Path
    """`$NEL_ACTION_HOME`: caches and the local backend's own store."""
    environ: Mapping[str, str] = field(repr=False)
    """Where the values of named variables come from; read at the last moment."""
    base_dir: Path
    """Folder of the spec; its relative paths start here."""


class Executor(Protocol):
    """One place where jobs run. Built by its class from the spec's `execution` and a workspace."""

    @property
    def poll_interval(self) -> tuple[float, float]:
        """Seconds between looks: at first, and at most after backing off."""

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Say what would keep this plan from running, before anything is spent: reach, rights, images, limits."""

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digest of each image that can be pinned here; references it cannot pin are left out."""

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt that the backend has under each key, changing nothing; omit unknown keys.

        Raises:
            UnreachableError: the backend did not answer, which is not "nothing is there".
        """

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Start attempt `number` of a job, or return it where it is already there.

        Raises:
            ExecutorError: the backend refused it.
            UnreachableError: the backend did not answer; whether the job is there is for `find` to say.
        """

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return the status of every attempt in one round trip, changing nothing; unknown where it was not observed."""

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Stream the attempt's log line by line; with `follow`, until it has ended."""

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """End them, and see that they ended.

        Raises:
            ExecutorError: some still run, by name.
        """

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Bring `artifacts/` and `logs/` into that directory, whole.

        Raises:
            CollectError: less came back than there is; what was there before is left alone.
        """

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the text of what would run, by file name (`run.sh`), readable and runnable by hand; no secrets."""

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        """Return the text of what runs the whole plan by hand, by file name (`run_all.sh`), if anything does."""

    def close(self) -> None:
        """Let go of connections; never of jobs."""


@runtime_checkable
class Describing(Protocol):
    """An executor that can say where an attempt's things lie on its backend."""

    def describe(self, attempt: Attempt) -> Mapping[str, str]:
        """Return names and places (`directory`, `logs`), in the order in which they are shown."""


@runtime_checkable
class Releasing(Protocol):
    """An executor that makes more than jobs for an invocation, and can end all of it."""

    def release(self, invocation: str) -> None:
        """End what an invocation has made, also where its making was never noted; called when all of it is cancelled.

        Raises:
            NelActionError: something is still there.
        """


@runtime_checkable
class Surveying(Protocol):
    """An executor that can say what its backend has."""

    def facts(self) -> Sequence[tuple[str, str]]:
        """Return words and texts (`quota used`, …) for `doctor`.

        Raises:
            NelActionError: the backend does not tell.
        """


@runtime_checkable
class Maintaining(Protocol):
    """An executor whose backend needs upkeep while jobs run.

    `find` and `poll` only read. Whatever has to be changed on the backend around them is done by these commands,
    which `find_attempts` and `poll_attempts` call at the right moment.
    """

    def sweep(self, keys: Sequence[Key]) -> None:
        """Delete expired resources that no live job needs, but nothing that belongs to `keys`; called before `find`.

        Raises:
            UnreachableError: the backend did not answer.
        """

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        """Act on the result of the last `poll`, for example cancel jobs that can never start; called after `poll`.

        Args:
            attempts: the arguments of that `poll`.
            statuses: its result.

        Returns:
            `statuses`, updated where these actions changed or invalidated a status.

        Raises:
            UnreachableError: the backend did not answer.
        """


def find_attempts(executor: Executor, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
    """Sweep the backend where the executor needs it, then return the newest attempt under each key.

    Raises:
        UnreachableError: the backend did not answer.
    """
    if isinstance(executor, Maintaining):
        executor.sweep(keys)
    return executor.find(keys)


def poll_attempts(executor: Executor, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
    """Poll the attempts, let the executor act on the result, and return their statuses."""
    statuses = executor.poll(attempts)
    if isinstance(executor, Maintaining):
        statuses = executor.reconcile(attempts, statuses)
    return statuses


@runtime_checkable
class Pooling(Protocol):
    """An executor that can look at attempts of others as well, in the same round trip."""

    @property
    def poll_group(self) -> str:
        """The same for all that can look for one another."""

    def adopt(self, other: Executor, attempts: Sequence[Attempt]) -> None:
        """Be ready to look at these attempts of another of the same group, with `poll`."""
