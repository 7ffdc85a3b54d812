"""Bringing artifacts and logs home: from the job's log or the mounted volume, whole, and only then put in place."""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.errors import CollectError, NelActionError
from nel_action.executors.lepton.job_log import History, job_name
from nel_action.executors.lepton.log_transport import EndRecord, is_ours, parse_record

__all__ = ["Collector"]

PATIENCE: Final = 60.0
"""Seconds in which all lines of a job that has ended must have arrived."""

PLACES: Final = ("logs", "artifacts")
"""Artifacts last: where they are, all is."""


@dataclass
class Collector:
    """Fetches what an attempt left."""

    history: History
    local: Path | None
    """Where this machine sees the attempts' folders on the mounted volume, if it does."""
    sleep: Callable[[float], None] = time.sleep

    def collect(self, item: Mapping[str, Any], into: Path) -> None:
        """Bring a job's artifacts and logs into `into`; what was there before stays until all is here.

        Raises:
            CollectError: less came than there is, or it cannot be written.
        """
        partial = into / f".collect-{secrets.token_hex(4)}"
        try:
            packed = self._archive(item)
            for name in PLACES:
                (partial / name).mkdir(parents=True)
            if packed is not None:
                with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                    archive.extractall(partial, filter="data")
            elif not (partial / "logs" / "client.log").exists():
                text = "\n".join(line for line in self.history.lines(item) if not is_ours(line))
                (partial / "logs" / "client.log").write_text(f"{text}\n", encoding="utf-8")
            for name in PLACES:
                _replace(partial / name, into / name)
        except (OSError, tarfile.TarError) as error:
            msg = f"cannot bring {job_name(item)} into {into}: {getattr(error, 'strerror', None) or error}"
            raise CollectError(msg, hint="nothing is lost: collect again when that is mended") from error
        except CollectError:
            raise
        except NelActionError as error:
            msg = f"the results of {job_name(item)} did not come: {error.problems[0].message}"
            raise CollectError(msg, hint="nothing is lost: collect again") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _archive(self, item: Mapping[str, Any]) -> bytes | None:
        """Return the archive that the job sent; None where it says that it sent none.

        Raises:
            CollectError: it did not come whole.
        """
        if (found := self._stored(item)) is not None:
            return found
        deadline, pause = time.monotonic() + PATIENCE, 1.0
        while True:
            message = self.history.message(item)
            end = message.end if message else None
            if message is not None and end is not None:
                if (packed := message.archive()) is not None:
                    return packed
                if not end.digest:
                    return None
                if not end.pieces:
                    raise _too_large(item, end)
            if time.monotonic() > deadline:
                break
            self.sleep(pause)
            pause = min(pause * 2, 10)
        if message is None or end is None:
            return None  # it was stopped before it could say anything; its log is all there is
        msg = f"{job_name(item)} sent {end.pieces} pieces ({end.size:,} bytes), and {message.missing} did not arrive"
        if not message.missing:
            msg = f"what {job_name(item)} sent does not match its digest"
        hint = "Lepton keeps only part of the log; collect again, or mount a volume (use_shared_storage)"
        raise CollectError(msg, hint=hint)

    def _stored(self, item: Mapping[str, Any]) -> bytes | None:
        """Return the archive from the mounted volume, where this machine sees it."""
        folder = self.local / job_name(item) if self.local else None
        if folder is None or not (folder / "end.json").is_file():
            return None
        record = parse_record((folder / "end.json").read_bytes())
        packed = (folder / "results.tar.gz").read_bytes()
        whole = record is not None and hashlib.sha256(packed).hexdigest() == record.digest
        return packed if whole else None


def _too_large(item: Mapping[str, Any], end: EndRecord) -> CollectError:
    msg = f"{job_name(item)} left {end.size:,} bytes packed, more than it may send through its log"
    hint = (
        "raise execution.evaluation_tasks.log_limit, or name where this machine sees the volume (mounts[0].local_path)"
    )
    return CollectError(msg, hint=hint)


def _replace(new: Path, old: Path) -> None:
    aside = new.with_name(f"{new.name}.old")
    if old.exists():
        old.rename(aside)
    new.rename(old)
