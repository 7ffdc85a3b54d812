"""One attempt of a job at a time on this machine: locks named after the job's key, in the store and between stores.

An attempt holds both locks from before its preparation until its exit record is written. The kernel releases them with
the supervisor; the lock file still names the attempt, so that the next holder can wait for what may still run.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from nel_action.errors import ExecutorError
from nel_action.executors.local.attempt import AttemptDir, ExitRecord
from nel_action.executors.local.collect import collect
from nel_action.executors.local.store import Store
from nel_action.executors.local.subprocesses import kill_leftovers
from nel_action.model.job import JobState

__all__ = ["JobClaim", "adopt_result", "shared_directory"]

logger = logging.getLogger(__name__)

DIRECTORY: Final = "claims"
"""Directory of the locks in a store."""

MAX_PATH: Final = 4096
"""Bytes of a lock file: the path of an attempt."""


def shared_directory() -> Path | None:
    """Return the directory of the locks that this user's stores share on this machine; None if it is not safe to use.

    Not below TMPDIR, which CI systems set for each job.
    """
    path = Path("/tmp") / f"nel-action-{os.getuid()}"  # noqa: S108 its owner and mode are checked
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        details = path.lstat()
    except OSError as error:
        logger.debug("no locks are shared with other homes: %s", error)
        return None
    if not stat.S_ISDIR(details.st_mode) or details.st_uid != os.getuid() or details.st_mode & 0o077:
        logger.warning("no locks are shared with other homes: %s is not a private directory of this user", path)
        return None
    return path


class JobClaim:
    """The exclusive right of an attempt to run its job."""

    def __init__(self, store: Store, attempt: AttemptDir) -> None:
        self._store = store
        self._attempt = attempt
        self._held: list[tuple[int, Path]] = []

    def acquire(self) -> AttemptDir | None:
        """Acquire the claim; return the attempt that holds it, or may still run, or None if it was acquired.

        Raises:
            ExecutorError: the lock cannot be created.
        """
        own = self._store.root / DIRECTORY
        try:
            own.mkdir(mode=0o700, exist_ok=True)
            for directory in (own, shared_directory()):
                if directory is not None and (holder := self._lock(directory / self._attempt.key)) is not None:
                    self.release()
                    return holder
        except OSError as error:
            self.release()
            msg = f"cannot lock {self._attempt.key}: {error.strerror or error}"
            raise ExecutorError(msg, hint=f"check the permissions of {error.filename or own}") from error
        if (other := next(self._unfinished(), None)) is not None:
            self.release()
            return other
        return None

    def _lock(self, path: Path) -> AttemptDir | None:
        """Lock a file and write this attempt's path to it; return the attempt that holds or may still use it."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _named(descriptor) or AttemptDir(path)
                os.close(descriptor)
                return holder
            if _is_current(descriptor, path):
                break
            os.close(descriptor)
        self._held.append((descriptor, path))
        if (previous := _named(descriptor)) is not None and previous.path != self._attempt.path:
            _end(previous, self._store)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(self._attempt.path).encode(), 0)
        return None

    def _unfinished(self) -> Iterator[AttemptDir]:
        """Yield the other attempts of this job in this store that started and have not finished."""
        for other in self._store.find([self._attempt.key]):
            started = other.claim.exists() or other.started_file.exists()
            if other.number != self._attempt.number and started and not other.finished:
                yield other

    def release(self) -> None:
        """Release the claim; does nothing if it is not held."""
        while self._held:
            descriptor, path = self._held.pop()
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _named(descriptor: int) -> AttemptDir | None:
    """Return the attempt that a lock file names."""
    text = os.pread(descriptor, MAX_PATH, 0).decode(errors="replace")
    return AttemptDir(Path(text)) if text.startswith("/") else None


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the file was not removed by its previous holder in the meantime."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _end(other: AttemptDir, store: Store) -> None:
    """Kill the processes of an attempt of another store whose supervisor was killed.

    An attempt of this store is left to its next supervisor, and a container to the engine.
    """
    with suppress(OSError):
        if other.path.parent != store.root and not other.finished and other.started_file.exists():
            kill_leftovers(str(other.path), other.start_record())


def adopt_result(other: AttemptDir, attempt: AttemptDir) -> ExitRecord | None:
    """Copy the results of another attempt of the same job, after waiting for it.

    Args:
        other: an attempt, perhaps of another store.
        attempt: the attempt that waited; its artifacts and logs are replaced.

    Returns:
        Its exit record; None if it did not succeed, or cannot be read.
    """
    try:
        outcome = other.exit_record() if other.path.stat().st_uid == os.getuid() else None
        if outcome is None or outcome.state is not JobState.SUCCEEDED:
            return None
        collect(other.path, attempt.path)
    except (OSError, ExecutorError) as error:
        logger.info("%s: cannot use the results of %s: %s", attempt.name, other.path, error)
        return None
    return outcome
