"""Taking away what agents and submitters that were killed could not."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from nel_action.executors.local.attempt import AttemptDir, read_started
from nel_action.executors.local.docker.client import LABEL, LABEL_STORE
from nel_action.executors.local.queue import Queue
from nel_action.executors.local.store import Store
from nel_action.executors.local.subprocesses import alive, sweep
from nel_action.executors.local.supervisor_processes import try_lock

if TYPE_CHECKING:
    from pathlib import Path

    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["clean_containers", "clean_files", "clean_old", "clean_processes"]

_DAY: Final = 86_400.0
"""Seconds."""


def clean_files(store: Store) -> None:
    """Remove attempts that were never whole, and secrets of those that have ended."""
    for partial in store.root.glob(".*"):
        pid = partial.name.split(".")[-2] if partial.name.count(".") >= 3 else ""  # noqa: PLR2004 .NAME.PID.TOKEN
        if pid.isdecimal() and not alive(int(pid)):
            shutil.rmtree(partial, ignore_errors=True)
    for attempt in store.all():
        if attempt.ended:
            attempt.secrets.unlink(missing_ok=True)


def clean_old(store: Store, queue: Queue) -> None:
    """Remove what ended, and was last looked for, longer ago than the `keep_days` of the jobs `queue` is about to run.

    What somebody may still need stays: unfinished attempts, those just taken over, and all of invocations that go on.
    """
    kept = [attempt.record().settings.keep_days for attempt in queue.unfinished()]
    if not kept or None in kept:
        return
    before = time.time() - max(days for days in kept if days is not None) * _DAY
    for attempt in store.all():
        with suppress(FileNotFoundError):
            if attempt.ended and attempt.path.stat().st_mtime < before:
                _remove(attempt.path)
    for folder in (store.root / "agents").iterdir():
        with suppress(FileNotFoundError):
            if (folder / "jobs").stat().st_mtime < before and _is_over(store.queue(folder.name), queue):
                _remove(folder)


def _remove(folder: Path) -> None:
    """Take a folder away at once, so that nobody finds half of it."""
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def clean_processes(queue: Queue) -> None:
    """End what servers of an earlier agent left running."""
    for folder in queue.servers.glob("*"):
        sweep(str(folder), read_started(folder / "started"))


def clean_containers(client: DockerClient, store: Store, queue: Queue) -> None:
    """Remove this store's containers and networks that nobody comes back for; `queue` is ours to judge."""
    from docker.errors import APIError

    mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL_STORE}={store.root}"}
    for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
        if _forsaken(container, store, queue):
            with suppress(APIError):
                container.remove(v=True, force=True)
    for network in client.networks.list(filters=mine):
        invocation = str((network.attrs.get("Labels") or {}).get(f"{LABEL}.invocation"))
        if _is_over(store.queue(invocation), queue):
            with suppress(APIError):
                network.remove()


def _forsaken(container: Container, store: Store, queue: Queue) -> bool:
    invocation = container.labels.get(f"{LABEL}.invocation", "")
    if container.labels.get(f"{LABEL}.role") == "server":
        return _is_over(store.queue(invocation), queue)
    return AttemptDir(store.root / str(container.name)).ended


def _is_over(other: Queue, ours: Queue) -> bool:
    """Whether an invocation has nothing left to run and nobody who runs it."""
    if other.unfinished():
        return False
    if other == ours:
        return True
    if not other.lock.exists():
        return True
    if (lock := try_lock(other)) is None:
        return False
    os.close(lock)
    return not other.unfinished()
