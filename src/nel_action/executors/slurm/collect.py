"""Bringing artifacts and logs home: listed with digests there, copied, read again here, and only then put in place."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import CollectError, UnreachableError
from nel_action.executors.slurm.exit_record import ExitRecord, parse_record
from nel_action.executors.slurm.layout import JobDir
from nel_action.executors.slurm.outage import outlast
from nel_action.executors.slurm.remote import Remote

__all__ = ["collect"]

PLACES: Final = {"logs": "logs", "run/artifacts": "artifacts"}
"""Folder there → folder here. Artifacts are put in place last: where they are, all is."""

PATIENCE: Final = 60.0
"""Seconds in which a file system must have shown the login node what a compute node has written."""

LISTING_SECONDS: Final = 1800
"""Seconds for digests of everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file there."""

    path: str
    """Relative to the attempt's directory."""
    size: int
    digest: str

    @property
    def target(self) -> PurePosixPath:
        """Where it belongs here."""
        folder = next(folder for folder in PLACES if self.path.startswith(f"{folder}/"))
        return PurePosixPath(PLACES[folder]) / self.path.removeprefix(f"{folder}/")


def collect(remote: Remote, place: JobDir, into: Path, *, patience: float = 0) -> None:
    """Bring an attempt's artifacts and logs into `into`; what was there before stays until all is here.

    Args:
        remote: the login node.
        place: the attempt's directory there.
        into: where `artifacts` and `logs` are put.
        patience: seconds for which a connection that breaks is made again, and everything fetched anew.

    Raises:
        CollectError: less came than there is, or it cannot be written.
    """
    try:
        outlast(lambda: _bring(remote, place, into), patience)
    except UnreachableError as error:
        msg = f"the results of {place.name} did not come whole: {error.problems[0].message}"
        raise CollectError(msg, hint="nothing is lost: collect again") from error


def _bring(remote: Remote, place: JobDir, into: Path) -> None:
    partial = into / f".collect-{secrets.token_hex(4)}"
    try:
        items = _listing(remote, place)
        for folder in PLACES.values():
            (partial / folder).mkdir(parents=True)
        targets = [(place.path / item.path, partial / item.target) for item in items]
        for _, target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        remote.fetch(targets)
        for item in items:
            _verify(item, partial / item.target)
        for folder in PLACES.values():
            _replace(partial / folder, into / folder)
    except OSError as error:
        msg = f"cannot bring {place.path} into {into}: {error.strerror or error} ({error.filename or remote.place})"
        raise CollectError(msg, hint="nothing is lost: collect again when that is mended") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _listing(remote: Remote, place: JobDir) -> list[Item]:
    """List all files there, once as many artifacts are seen as the job says that it left.

    Raises:
        CollectError: they are not there.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        record, items = _look(remote, place)
        artifacts = [item for item in items if item.path.startswith("run/artifacts/")]
        left = (record.files, record.bytes) if record and record.status == 0 else None
        seen = (len(artifacts), sum(item.size for item in artifacts))
        # NOTE: a job that was stopped says nothing of what it left; what is there is all there is.
        if left is None or seen == left:
            return items
        if time.monotonic() > deadline:
            msg = f"{place.name} left {left[0]} files of {left[1]:,} bytes, and {seen[0]} of {seen[1]:,} are there"
            raise CollectError(msg, hint=f"look at {remote.place}:{place.run}/artifacts; was something removed?")
        time.sleep(1)


def _look(remote: Remote, place: JobDir) -> tuple[ExitRecord | None, list[Item]]:
    words = ["bash", "-c", _script(), "collect.sh", str(place.path)]
    record, listing = remote.run(["cat", str(place.exit_record)], words, seconds=LISTING_SECONDS)
    if listing.code:
        msg = f"{place.path} is not there on {remote.place}: {listing.complaint}"
        raise CollectError(msg, hint="its directory was removed; run the job again")
    return parse_record(record.text) if record.code == 0 else None, _parse(listing.out)


@cache
def _script() -> str:
    return files("nel_action.executors.slurm").joinpath("templates", "collect.sh").read_text("utf-8")


def _parse(data: bytes) -> list[Item]:
    items = []
    for raw in data.split(b"\0")[:-1]:
        digest, size, path = raw.decode(errors="surrogateescape").split(" ", 2)
        if ".." not in PurePosixPath(path).parts:
            items.append(Item(path=path, size=int(size), digest=digest))
    return items


def _verify(item: Item, copy: Path) -> None:
    """Read a copy again.

    Raises:
        CollectError: it is not what was listed.
    """
    with copy.open("rb+") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if copy.stat().st_size != item.size or found != item.digest:
        msg = f"{item.path} did not come as it is there: {copy.stat().st_size:,} of {item.size:,} bytes"
        raise CollectError(msg, hint="it changed meanwhile, or a disk is full; collect again")


def _replace(new: Path, old: Path) -> None:
    aside = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(aside)
    new.rename(old)
