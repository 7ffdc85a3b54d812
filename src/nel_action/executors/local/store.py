"""The store of the local executor: one directory per attempt and one per invocation.

<home>/local/<key>-<n>/        an attempt; created atomically
    job.json                   what was submitted; no secrets
    secrets.json               values of variables, mode 0600; deleted when the attempt finishes
    work/  task/               working directory of the harness; a copy of the task's own directory
    artifacts/  logs/          results of the harness; setup.log, client.log, server.log
    phase                      current step of the preparation, for people
    claim                      created before the engine is asked for a container
    unobserved                 why it is not known whether the attempt runs; exists only while it is not
    started                    created by the process of the attempt, exactly once
    cancel                     cancellation was requested
    exit.json                  how the attempt finished; written last
<home>/local/id               random ID of this store, a label of its containers
<home>/local/claims/<key>      lock of the attempt that runs the job; contains its path
<home>/local/agents/<invocation>/
    jobs/<key>-<n>             queue of the invocation: names of attempts
    lock                       locked by the supervisor while it runs
    log                        log of the supervisor, mode 0600
    wake                       touched to notify the supervisor
    servers/                   files of the model servers; exists only while there are any
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ExecutorError
from nel_action.executors.local.attempt import JOB_FILE, AttemptDir, JobRecord
from nel_action.files import is_generated, try_lock, write_atomically
from nel_action.model.job import Key, attempt_name
from nel_action.model.run_files import JobFiles

__all__ = ["Queue", "Store", "store_identity"]

ID_FILE: Final = "id"

DIRECTORIES: Final = ("work", JobFiles.ARTIFACTS, JobFiles.LOGS)


class Store:
    """All attempts on this machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "local"

    def at(self, key: Key, number: int) -> AttemptDir:
        """Return the directory of an attempt, which may not exist."""
        return AttemptDir(self.root / attempt_name(key, number))

    @property
    def identity(self) -> str:
        """A random ID of this store, created on first use; a path may name different stores on different machines."""
        return store_identity(self.root)

    def queue(self, invocation: str) -> Queue:
        """Return the queue of an invocation."""
        return Queue(self.root, invocation)

    def queues(self) -> list[Queue]:
        """Return the queues of all invocations."""
        return [self.queue(path.name) for path in self.root.glob("agents/*")]

    def queues_with_servers(self) -> list[Queue]:
        """Return the queues whose supervisor runs a model server, or was killed while it did."""
        return [self.queue(path.parent.name) for path in self.root.glob("agents/*/servers")]

    def find(self, keys: Iterable[Key]) -> Iterator[AttemptDir]:
        """Yield every attempt under those keys."""
        requested = set(keys)
        return (attempt for attempt in self.all() if attempt.key in requested)

    def retain(self, keys: Iterable[Key]) -> None:
        """Reset the age of every attempt under those keys, so that it is not removed as expired."""
        for attempt in self.find(keys):
            with suppress(OSError):
                os.utime(attempt.path)

    def all(self) -> Iterator[AttemptDir]:
        """Yield every attempt."""
        try:
            names = [path.name for path in self.root.iterdir()]
        except FileNotFoundError:
            return
        for name in names:
            key, _, number = name.rpartition("-")
            if key and number.isdecimal() and not name.startswith("."):
                yield AttemptDir(self.root / name)

    def create(self, record: JobRecord, *, values: Mapping[str, Any], copies: Mapping[str, Path]) -> bool:
        """Create the directory of an attempt atomically.

        Args:
            record: what to run.
            values: contents of `secrets.json`.
            copies: name in the attempt's directory → file or directory to copy there.

        Returns:
            Whether this call created it; False if it exists.

        Raises:
            ExecutorError: it cannot be written.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self.at(record.job.key, record.number)
        if target.exists():
            return False
        partial = self.root / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            _fill(partial, record, values, copies)
            partial.rename(target.path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if target.exists():
                return False
            msg = f"cannot write {target.path}: {error.strerror or error}"
            raise ExecutorError(msg) from error
        _sync(self.root)
        return True


def store_identity(root: Path) -> str:
    """Return the ID of the store in a directory; create it on first use.

    Raises:
        ExecutorError: it cannot be read or written.
    """
    path = root / ID_FILE
    try:
        if not path.exists():
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = root / f".{ID_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
            partial.write_text(secrets.token_hex(16), encoding="ascii")
            with suppress(FileExistsError):
                os.link(partial, path)
            partial.unlink()
        if text := path.read_text(encoding="ascii").strip():
            return text
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {error}"
        raise ExecutorError(msg) from error
    msg = f"{path} is empty"
    raise ExecutorError(msg, hint="delete it if no container of this home runs; the next run creates another")


def _fill(partial: Path, record: JobRecord, values: Mapping[str, Any], copies: Mapping[str, Path]) -> None:
    for name in DIRECTORIES:
        (partial / name).mkdir(parents=True, exist_ok=True)
    for name, source in copies.items():
        if source.is_dir():
            shutil.copytree(source, partial / name, ignore=_generated)
        else:
            shutil.copyfile(source, partial / name)
    write_atomically(partial / "secrets.json", json.dumps(values).encode(), mode=0o600)
    write_atomically(partial / JOB_FILE, record.to_json())
    _sync(partial)


def _generated(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if is_generated(Path(directory, name))}


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Queue:
    """The attempts that the supervisor of one invocation runs."""

    root: Path
    """Root of the store."""
    invocation: str

    @property
    def path(self) -> Path:
        """Directory of the invocation."""
        return self.root / "agents" / self.invocation

    @property
    def lock(self) -> Path:
        """File that the supervisor locks while it runs."""
        return self.path / "lock"

    @property
    def log(self) -> Path:
        """Log of the supervisor."""
        return self.path / "log"

    @property
    def servers(self) -> Path:
        """Directory for the files of model servers; exists only while there are any."""
        return self.path / "servers"

    def create(self) -> Queue:
        """Create the directory if it does not exist."""
        (self.path / "jobs").mkdir(parents=True, exist_ok=True)
        self.lock.touch()
        return self

    def try_lock(self) -> int | None:
        """Return a descriptor that holds the lock, or None if another process holds it."""
        return try_lock(self.lock)

    def add(self, name: str) -> None:
        """Add the name of an attempt; it is ignored as long as the attempt does not exist."""
        (self.path / "jobs" / name).touch()

    def remove(self, name: str) -> None:
        """Remove the name of an attempt that belongs to another invocation."""
        (self.path / "jobs" / name).unlink(missing_ok=True)

    def attempts(self) -> list[AttemptDir]:
        """Return the existing attempts, finished or not."""
        try:
            names = [path.name for path in (self.path / "jobs").iterdir()]
        except FileNotFoundError:
            return []
        attempts = [AttemptDir(self.root / name) for name in sorted(names)]
        return [attempt for attempt in attempts if attempt.exists()]

    def unfinished(self) -> list[AttemptDir]:
        """Return the attempts that have not finished."""
        return [attempt for attempt in self.attempts() if not attempt.finished]

    def needs_supervisor(self) -> bool:
        """Whether an attempt is unfinished, or a killed supervisor left a model server behind."""
        return self.servers.exists() or bool(self.unfinished())

    def notify(self) -> None:
        """Notify the supervisor of a change."""
        (self.path / "wake").touch()

    def notification(self) -> int:
        """Return a number that changes with each `notify`."""
        try:
            return (self.path / "wake").stat().st_mtime_ns
        except FileNotFoundError:
            return 0
