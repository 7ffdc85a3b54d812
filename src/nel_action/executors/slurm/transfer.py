"""Transfer of results and logs from the cluster.

Results are listed with their digests on the login node, copied, verified on this machine, and only then moved to their
final directory.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import CollectError, UnreachableError
from nel_action.executors.slurm.layout import AttemptDir, ExitRecord, parse_exit_record
from nel_action.executors.slurm.notices import waiting_for
from nel_action.executors.slurm.remote import RemoteShell, retry_outages
from nel_action.executors.slurm.shell import template
from nel_action.model.run_files import JobFiles
from nel_action.retry import Backoff, poll_until, retry

__all__ = ["collect", "stream_log"]

logger = logging.getLogger(__name__)

TARGETS: Final = {"logs": JobFiles.LOGS, "run/artifacts": JobFiles.ARTIFACTS}
"""Directory on the cluster → directory here; artifacts are moved last, so that their presence means completeness."""

VISIBILITY_SECONDS: Final = 60.0
"""Time limit for the login node's file system to show what a compute node has written."""

LISTING_BACKOFF: Final = Backoff(initial=1.0, factor=1, jitter=0)

LISTING_SECONDS: Final = 1800
"""Time limit for computing the digests of all files."""

LOG_BLOCK: Final = 1 << 20
"""Bytes of a log per round trip."""

LOG_BACKOFF: Final = Backoff(initial=0.5, factor=1.5, maximum=5.0, jitter=0)
"""Pauses while a followed log does not grow."""

LOG_OUTAGE_BACKOFF: Final = Backoff(initial=5.0, factor=1, jitter=0)

LOG_OUTAGE_SECONDS: Final = 600.0
"""Time limit of an outage while a log is followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file in an attempt's directory."""

    path: str
    """Relative to the attempt's directory."""
    size: int
    digest: str

    @property
    def target(self) -> PurePosixPath:
        """Path of the copy, relative to the job's directory here."""
        source = next(source for source in TARGETS if self.path.startswith(f"{source}/"))
        return PurePosixPath(TARGETS[source]) / self.path.removeprefix(f"{source}/")


def collect(remote: RemoteShell, directory: AttemptDir, into: Path, *, outage_seconds: float = 0) -> None:
    """Copy an attempt's artifacts and logs; earlier copies stay until the new ones are complete.

    Args:
        remote: the login node.
        directory: the attempt's directory.
        into: receives `artifacts` and `logs`.
        outage_seconds: how long to retry after the connection breaks; every try copies everything.

    Raises:
        CollectError: files are missing or damaged, or cannot be written.
    """
    try:
        retry_outages(lambda: _copy(remote, directory, into), outage_seconds)
    except UnreachableError as error:
        msg = f"incomplete results of {directory.name}: {error.problems[0].message}"
        raise CollectError(msg, hint="the results on the cluster are intact; collect again") from error


def _copy(remote: RemoteShell, directory: AttemptDir, into: Path) -> None:
    partial = into / f".collect-{secrets.token_hex(4)}"
    try:
        items = _list_files(remote, directory)
        for folder in TARGETS.values():
            (partial / folder).mkdir(parents=True)
        targets = [(directory.path / item.path, partial / item.target) for item in items]
        for _, target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        remote.fetch(targets)
        for item in items:
            _verify(item, partial / item.target)
        for folder in TARGETS.values():
            _replace(partial / folder, into / folder)
        logger.info("collected %d files of %s", len(items), directory.name)
    except OSError as error:
        cause = f"{error.strerror or error} ({error.filename or remote.host})"
        msg = f"cannot copy {directory.path} to {into}: {cause}"
        raise CollectError(msg, hint="the results on the cluster are intact; correct this and collect again") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _list_files(remote: RemoteShell, directory: AttemptDir) -> list[RemoteFile]:
    """List all files, once as many artifacts are visible as the exit record says.

    Raises:
        CollectError: some are missing.
    """
    expected, visible = (0, 0), (0, 0)

    def list_complete() -> list[RemoteFile] | None:
        nonlocal expected, visible
        record, items = _list_once(remote, directory)
        # NOTE: only a successful job records the number of its artifacts reliably.
        if record is None or record.status:
            return items
        artifacts = [item for item in items if item.path.startswith("run/artifacts/")]
        expected = (record.files, record.bytes)
        visible = (len(artifacts), sum(item.size for item in artifacts))
        return items if visible == expected else None

    with waiting_for(f"all artifacts of {directory.name} to be visible on {remote.host}"):
        items = poll_until(list_complete, deadline=time.monotonic() + VISIBILITY_SECONDS, backoff=LISTING_BACKOFF)
    if items is None:
        msg = (
            f"missing artifacts of {directory.name}: {visible[0]} of {expected[0]} files, "
            f"{visible[1]:,} of {expected[1]:,} bytes"
        )
        hint = f"check {remote.host}:{directory.run}/artifacts; files may have been removed"
        raise CollectError(msg, hint=hint)
    return items


def _list_once(remote: RemoteShell, directory: AttemptDir) -> tuple[ExitRecord | None, list[RemoteFile]]:
    command = ["bash", "--norc", "--noprofile", "-c", template("collect.sh"), "collect.sh", str(directory.path)]
    record, listing = remote.run(["cat", str(directory.exit_record)], command, seconds=LISTING_SECONDS)
    if listing.code:
        msg = f"cannot read {directory.path} on {remote.host}: {listing.error_line}"
        raise CollectError(msg, hint="the directory may have been removed; if so, run the job again")
    return parse_exit_record(record.text) if record.code == 0 else None, _parse_listing(listing.stdout, remote.host)


def _parse_listing(data: bytes, host: str) -> list[RemoteFile]:
    """Parse the output of `collect.sh`.

    Raises:
        CollectError: it is malformed or incomplete.
    """
    items = []
    *entries, rest = data.split(b"\0")
    for raw in entries:
        match = re.fullmatch(r"([0-9a-f]{64}) (\d+) (.+)", raw.decode(errors="surrogateescape"), re.DOTALL)
        if match is None:
            rest = raw
            break
        if ".." not in PurePosixPath(match[3]).parts:
            items.append(RemoteFile(path=match[3], size=int(match[2]), digest=match[1]))
    if rest:
        msg = f"unexpected list of files from {host}: {rest[:80].decode(errors='replace')!r}"
        raise CollectError(msg, hint="sha256sum and stat on the login node must be those of GNU or busybox")
    return items


def _verify(item: RemoteFile, copy: Path) -> None:
    """Compare a copy with its listing, and write it to disk.

    Raises:
        CollectError: size or digest differ.
    """
    with copy.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    size = copy.stat().st_size
    if size != item.size or digest != item.digest:
        msg = f"damaged copy of {item.path}: {size:,} of {item.size:,} bytes"
        raise CollectError(msg, hint="the file may have changed, or a disk may be full; collect again")


def _replace(new: Path, old: Path) -> None:
    aside = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(aside)
    new.rename(old)


def stream_log(
    remote: RemoteShell, path: PurePosixPath, *, follow: bool, finished: Callable[[], bool]
) -> Iterator[str]:
    """Yield the lines of a log; a broken connection is resumed at the same position.

    Args:
        remote: the login node.
        path: the log; a missing one is empty.
        follow: whether to continue until the job has finished and everything has been read.
        finished: whether the job has finished; called only while the log does not grow.

    Raises:
        UnreachableError: the login node does not answer; while following, for ten minutes.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offset, rest, last = 0, "", False
    pauses = LOG_BACKOFF.delays()
    while True:
        data = _read_block(remote, path, offset, outage_seconds=LOG_OUTAGE_SECONDS if follow else 0)
        offset += len(data)
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        yield from lines
        if len(data) == LOG_BLOCK:
            continue
        if last or not follow:
            break
        if data:
            pauses = LOG_BACKOFF.delays()
        last = not data and finished()
        if not last:
            time.sleep(next(pauses))
    if rest:
        yield rest


def _read_block(remote: RemoteShell, path: PurePosixPath, offset: int, *, outage_seconds: float) -> bytes:
    script = 'tail -c "+$2" -- "$1" 2>/dev/null | head -c "$3"'
    argv = ["sh", "-c", script, "read", str(path), str(offset + 1), str(LOG_BLOCK)]
    (result,) = retry(
        lambda: remote.run(argv),
        delay=lambda error: 0.0 if isinstance(error, UnreachableError) else None,
        deadline=time.monotonic() + outage_seconds,
        backoff=LOG_OUTAGE_BACKOFF,
    )
    return result.stdout
