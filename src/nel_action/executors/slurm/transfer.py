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
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import CollectError, UnreachableError
from nel_action.executors.slurm.layout import AttemptDir, ExitRecord, parse_exit_record
from nel_action.executors.slurm.notices import waiting_for
from nel_action.executors.slurm.remote import RemoteShell, retry_outages
from nel_action.executors.slurm.shell import LOGIN_BASH, template
from nel_action.model.run_files import JobFiles
from nel_action.retry import Backoff, poll_until, retry

__all__ = ["Listing", "collect", "list_files", "stream_log"]

logger = logging.getLogger(__name__)

TARGETS: Final = {"logs": JobFiles.LOGS, "run/artifacts": JobFiles.ARTIFACTS}
"""Directory on the cluster → directory here; artifacts are moved last, so that their presence means completeness."""

ENTRY: Final = re.compile(
    r"(?P<number>\d+) (?P<kind>[0-9a-f]{64}|exit|unreadable) (?P<size>\d+) (?P<text>.+)", re.DOTALL
)
"""A record of `collect.sh`."""

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


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one attempt."""

    record: ExitRecord | None
    files: tuple[RemoteFile, ...]

    @property
    def expected(self) -> tuple[int, int] | None:
        """Number and size of the artifacts by the exit record; None if it does not count them reliably."""
        # NOTE: only a successful job records the number of its artifacts reliably.
        return None if self.record is None or self.record.status else (self.record.files, self.record.bytes)

    @property
    def visible(self) -> tuple[int, int]:
        """Number and size of the artifacts that are visible on the login node."""
        sizes = [item.size for item in self.files if item.path.startswith("run/artifacts/")]
        return len(sizes), sum(sizes)

    @property
    def complete(self) -> bool:
        """Whether all artifacts are visible."""
        return self.expected is None or self.visible == self.expected


def collect(
    remote: RemoteShell,
    directory: AttemptDir,
    into: Path,
    *,
    listing: Listing | None = None,
    outage_seconds: float = 0,
) -> None:
    """Copy an attempt's artifacts and logs; earlier copies stay until the new ones are complete.

    Args:
        remote: the login node.
        directory: the attempt's directory.
        into: receives `artifacts` and `logs`.
        listing: its files, if they have been listed already.
        outage_seconds: how long to retry after the connection breaks; every try copies everything.

    Raises:
        CollectError: files are missing or damaged, or cannot be written.
    """
    try:
        if listing is not None and listing.complete:
            with suppress(CollectError, UnreachableError):  # a file may have changed since it was listed
                _copy(remote, directory, into, listing)
                return
        retry_outages(lambda: _copy(remote, directory, into, None), outage_seconds)
    except UnreachableError as error:
        msg = f"incomplete results of {directory.name}: {error.problems[0].message}"
        raise CollectError(msg, hint="the results on the cluster are intact; collect again") from error


def _copy(remote: RemoteShell, directory: AttemptDir, into: Path, listing: Listing | None) -> None:
    partial = into / f".collect-{secrets.token_hex(4)}"
    try:
        items = (listing or _list_complete(remote, directory)).files
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


def _list_complete(remote: RemoteShell, directory: AttemptDir) -> Listing:
    """List all files, once as many artifacts are visible as the exit record says.

    Raises:
        CollectError: some are missing.
    """
    last: Listing | None = None

    def list_complete() -> Listing | None:
        nonlocal last
        last = list_files(remote, [directory]).get(directory.name)
        if last is None:
            msg = f"cannot read {directory.path} on {remote.host}"
            raise CollectError(msg, hint="the directory may have been removed; if so, run the job again")
        return last if last.complete else None

    with waiting_for(f"all artifacts of {directory.name} to be visible on {remote.host}"):
        listing = poll_until(list_complete, deadline=time.monotonic() + VISIBILITY_SECONDS, backoff=LISTING_BACKOFF)
    if listing is None and last is not None and last.expected is not None:
        msg = (
            f"missing artifacts of {directory.name}: {last.visible[0]} of {last.expected[0]} files, "
            f"{last.visible[1]:,} of {last.expected[1]:,} bytes"
        )
        hint = f"check {remote.host}:{directory.run}/artifacts; files may have been removed"
        raise CollectError(msg, hint=hint)
    return listing or Listing(None, ())


def list_files(remote: RemoteShell, directories: Sequence[AttemptDir]) -> dict[str, Listing]:
    """List the files of attempts with their digests, in one round trip.

    Args:
        remote: the login node.
        directories: the attempts' directories.

    Returns:
        The listings by name; directories that cannot be read are omitted.

    Raises:
        CollectError: the output is malformed.
        UnreachableError: the login node does not answer.
    """
    script = [*LOGIN_BASH, template("05_mask.sh") + template("collect.sh"), "collect.sh"]
    (result,) = remote.run([*script, *(str(each.path) for each in directories)], seconds=LISTING_SECONDS)
    records: dict[int, ExitRecord | None] = {}
    files: dict[int, list[RemoteFile]] = {number: [] for number in range(len(directories))}
    *entries, rest = result.stdout.split(b"\0")
    for raw in [*entries, *([rest] if rest else [])]:
        match = ENTRY.fullmatch(raw.decode(errors="surrogateescape"))
        if match is None or int(match["number"]) >= len(directories) or rest:
            msg = f"unexpected list of files from {remote.host}: {raw[:80].decode(errors='replace')!r}"
            raise CollectError(msg, hint="sha256sum and stat on the login node must be those of GNU or busybox")
        number, path = int(match["number"]), match["text"]
        if match["kind"] == "unreadable":
            files.pop(number, None)
        elif match["kind"] == "exit":
            records[number] = parse_exit_record(path)
        elif ".." not in PurePosixPath(path).parts:
            files[number].append(RemoteFile(path=path, size=int(match["size"]), digest=match["kind"]))
    return {
        directories[number].name: Listing(records.get(number), tuple(each)) for number, each in sorted(files.items())
    }


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
