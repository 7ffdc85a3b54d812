"""Removal of expired attempts, and of what killed supervisors and submitters left behind."""

from __future__ import annotations

import logging
import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from nel_action.executors.local.attempt import AttemptDir, read_start_record
from nel_action.executors.local.docker.run import HOME_LABEL, LABEL, UNTIL_LABEL, is_abandoned
from nel_action.executors.local.store import Queue, Store
from nel_action.executors.local.subprocesses import is_alive, kill_leftovers

if TYPE_CHECKING:
    from pathlib import Path

    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["kill_server_processes", "remove_containers", "remove_expired", "remove_partial"]

logger = logging.getLogger(__name__)

_DAY: Final = 86_400.0
"""Seconds."""


def remove_partial(store: Store) -> None:
    """Remove attempts whose submitter was killed before they were complete, and secrets of finished attempts."""
    for partial in store.root.glob(".*"):
        pid = partial.name.split(".")[-2] if partial.name.count(".") >= 3 else ""  # noqa: PLR2004 .NAME.PID.TOKEN
        if pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(partial, ignore_errors=True)
    for attempt in store.all():
        if attempt.finished:
            attempt.secrets.unlink(missing_ok=True)


def remove_expired(store: Store, queue: Queue) -> None:
    """Remove finished attempts and invocations that were last used more than `keep_days` ago.

    The largest `keep_days` of the jobs in `queue` applies. Unfinished attempts, attempts that were just taken over,
    and active invocations are kept.
    """
    keep_days = [attempt.record().settings.keep_days for attempt in queue.unfinished()]
    limits = [days for days in keep_days if days is not None]
    if not limits or None in keep_days:
        return
    expiry = time.time() - max(limits) * _DAY
    for attempt in store.all():
        with suppress(FileNotFoundError):
            if attempt.finished and attempt.path.stat().st_mtime < expiry:
                _remove(attempt.path)
    for other in store.queues():
        with suppress(FileNotFoundError):
            if (other.path / "jobs").stat().st_mtime < expiry and _is_inactive(other, queue):
                _remove(other.path)


def _remove(directory: Path) -> None:
    """Remove a directory; renamed first, so that no process finds it incomplete."""
    logger.info("removing the expired directory %s", directory)
    renamed = directory.with_name(f".{directory.name}.{os.getpid()}.old")
    directory.rename(renamed)
    shutil.rmtree(renamed, ignore_errors=True)


def kill_server_processes(queue: Queue) -> None:
    """Kill the processes of model servers that an earlier supervisor left behind."""
    for directory in queue.servers.glob("*"):
        kill_leftovers(str(directory), read_start_record(directory / "started"))


def remove_containers(client: DockerClient, store: Store, queue: Queue) -> None:
    """Remove the store's containers and networks that no supervisor will use again, and overdue ones of other stores.

    Args:
        client: the engine.
        store: the store; of other stores, containers are removed that are past their time limit (a deleted home).
        queue: the queue of the calling supervisor, which holds its lock.
    """
    from docker.errors import APIError

    own: dict[str, str | list[str] | bool] = {"label": f"{HOME_LABEL}={store.identity}"}
    for container in client.containers.list(all=True, filters=own, ignore_removed=True):
        if _is_unused(container, store, queue):
            logger.info("removing the container %s", container.name)
            with suppress(APIError):
                container.remove(v=True, force=True)
    overdue: dict[str, str | list[str] | bool] = {"label": UNTIL_LABEL}
    for container in client.containers.list(all=True, filters=overdue, ignore_removed=True):
        if container.labels.get(HOME_LABEL) != store.identity and is_abandoned(container):
            logger.warning("removing the container %s, whose home no longer uses it", container.name)
            with suppress(APIError):
                container.remove(v=True, force=container.status != "created")
    for network in client.networks.list(filters=own):
        invocation = str((network.attrs.get("Labels") or {}).get(f"{LABEL}.invocation"))
        if _is_inactive(store.queue(invocation), queue):
            with suppress(APIError):
                network.remove()


def _is_unused(container: Container, store: Store, queue: Queue) -> bool:
    invocation = container.labels.get(f"{LABEL}.invocation", "")
    if container.labels.get(f"{LABEL}.role") == "server":
        return _is_inactive(store.queue(invocation), queue)
    key, number = (container.labels.get(f"{LABEL}.{name}", "") for name in ("key", "attempt"))
    return AttemptDir(store.root / f"{key}-{number}").finished


def _is_inactive(other: Queue, own: Queue) -> bool:
    """Whether an invocation has no unfinished attempt and no running supervisor."""
    if other.unfinished():
        return False
    if other == own:
        return True
    if not other.lock.exists():
        return True
    if (lock := other.try_lock()) is None:
        return False
    os.close(lock)
    return not other.unfinished()
