"""The local backend's store: one directory for each attempt, found by its name.

<home>/local/<key>-<n>/        the attempt; the directory appears whole or not at all
    job.json                   what was submitted; no secrets
    secrets.json               values of variables, 0600; gone when the attempt ends
    work/  task/               the command's files and working directory; a copy of the task's own folder
    artifacts/  logs/          what the harness leaves; setup.log, client.log, server.log
    phase                      what is being prepared, in words
    started                    written by the attempt's own process, once
    cancel                     somebody asked for its end
    exit.json                  how it ended; written last
<home>/local/agents/<invocation>/
    jobs/<key>-<n>             the invocation's queue: names of attempts
    lock  log  wake            held by the agent while it lives; what it says; touched when there is news
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ExecutorError
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.queue import Queue
from nel_action.executors.local.record import JobRecord
from nel_action.files import write_atomically
from nel_action.model.job import Key, attempt_name

__all__ = ["Store"]

FOLDERS: Final = ("work", "artifacts", "logs")


class Store:
    """All attempts on this machine."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "local"

    def at(self, key: Key, number: int) -> AttemptDir:
        """Return the attempt's directory, whether it is there or not."""
        return AttemptDir(self.root / attempt_name(key, number))

    def queue(self, invocation: str) -> Queue:
        """Return the queue of an invocation."""
        return Queue(self.root, invocation)

    def queues_with_servers(self) -> list[Queue]:
        """Return the queues whose agent has a server, or had one when it was killed."""
        return [self.queue(folder.parent.name) for folder in self.root.glob("agents/*/servers")]

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
        """Return every attempt."""
        try:
            names = [path.name for path in self.root.iterdir()]
        except FileNotFoundError:
            return
        for name in names:
            key, _, number = name.rpartition("-")
            if key and number.isdecimal() and not name.startswith("."):
                yield AttemptDir(self.root / name)

    def claim(self, record: JobRecord, *, values: Mapping[str, Any], folders: Mapping[str, Path]) -> bool:
        """Create the attempt's directory whole; False where somebody else has created it before.

        Args:
            record: what to run.
            values: contents of `secrets.json`.
            folders: name in the attempt's directory → folder or file to copy there.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self.at(record.job.key, record.number)
        if target.exists():
            return False
        partial = self.root / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            _fill(partial, record, values, folders)
            partial.rename(target.path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if target.exists():
                return False
            msg = f"cannot write {target.path}: {error.strerror or error}"
            raise ExecutorError(msg) from error
        _sync(self.root)
        return True


def _fill(partial: Path, record: JobRecord, values: Mapping[str, Any], folders: Mapping[str, Path]) -> None:
    for name in FOLDERS:
        (partial / name).mkdir(parents=True, exist_ok=True)
    for name, source in folders.items():
        if source.is_dir():
            shutil.copytree(source, partial / name, ignore=shutil.ignore_patterns("__pycache__", ".git"))
        else:
            shutil.copyfile(source, partial / name)
    write_atomically(partial / "secrets.json", json.dumps(values).encode(), mode=0o600)
    write_atomically(partial / "job.json", record.to_json())
    _sync(partial)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
