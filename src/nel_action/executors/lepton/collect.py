"""Collection of artifacts and logs: from the mounted volume or the job's log, verified before they replace anything."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import secrets
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from nel_action.errors import CollectError, NelActionError
from nel_action.executors.lepton.job_log import JobLog
from nel_action.executors.lepton.jobs import JobRecord
from nel_action.executors.lepton.log_transport import ExitRecord, Transmission, is_transport_line, parse_exit_record
from nel_action.files import limited
from nel_action.model.run_files import JobFiles
from nel_action.retry import Backoff

__all__ = ["Collector"]

logger = logging.getLogger(__name__)

LOG_DELAY_SECONDS: Final = 60.0
"""Seconds within which the log service must have received all lines of a finished job."""

LOG_DELAY_BACKOFF: Final = Backoff(initial=1.0, maximum=10.0)

DIRECTORIES: Final = (JobFiles.LOGS, JobFiles.ARTIFACTS)
"""In the order in which they are replaced: where the artifacts are, the logs are as well."""


@dataclass
class Collector:
    """Copies the results of finished jobs to this machine."""

    log: JobLog
    volume: Path | None
    """Directory with the attempts' directories on the mounted volume, where this machine can read it."""

    def collect(self, job: JobRecord, into: Path) -> None:
        """Copy a job's artifacts and logs into a directory; its contents are replaced when the copy is complete.

        Raises:
            CollectError: the results are incomplete, or cannot be written.
        """
        partial = into / f".collect-{secrets.token_hex(4)}"
        try:
            archive = self._archive(job)
            for name in DIRECTORIES:
                (partial / name).mkdir(parents=True)
            client_log = JobFiles(partial).logs / "client.log"
            if archive is not None:
                with (
                    gzip.open(io.BytesIO(archive)) as packed,
                    limited(cast("BinaryIO", packed), line_limit=None) as unpacked,
                    tarfile.open(fileobj=unpacked, mode="r|") as tar,
                ):
                    tar.extractall(partial, filter="data")
            else:
                text = "\n".join(line for line in self.log.lines(job) if not is_transport_line(line))
                client_log.write_text(f"{text}\n", encoding="utf-8")
            for name in DIRECTORIES:
                _replace(partial / name, into / name)
        except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
            msg = f"cannot copy the results of {job.name} into {into}: {getattr(error, 'strerror', None) or error}"
            raise CollectError(msg, hint="the results are still available: fix the cause and collect again") from error
        except CollectError:
            raise
        except NelActionError as error:
            msg = f"cannot collect the results of {job.name}: {error.problems[0].message}"
            raise CollectError(msg, hint="the results are still available: collect again") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _archive(self, job: JobRecord) -> bytes | None:
        """Return the archive that the job sent, or None where it sent none.

        Raises:
            CollectError: the archive is incomplete, or too large for the log.
        """
        if (archive := self._archive_on_volume(job)) is not None:
            return archive
        transmission = self._transmission(job)
        if transmission is None or transmission.exit_record is None:
            return None  # NOTE: it was stopped before it could send anything; only its output is left.
        record = transmission.exit_record
        if not record.digest:
            return None
        if (archive := transmission.archive()) is not None:
            return archive
        if not record.parts:
            raise _too_large(job, record)
        if missing := transmission.missing:
            msg = f"incomplete results for {job.name}: {missing} of {record.parts} parts are missing"
        else:
            msg = f"corrupt results for {job.name}: the archive does not match its digest"
        hint = "Lepton stores only a part of a log; collect again, or mount a volume (use_shared_storage)"
        raise CollectError(msg, hint=hint)

    def _transmission(self, job: JobRecord) -> Transmission | None:
        """Return what was received from the job; wait for lines that the log service has not stored yet."""
        transmission: Transmission | None = None

        def completed() -> bool | None:
            nonlocal transmission
            transmission = self.log.transmission(job)
            record = transmission.exit_record if transmission else None
            if transmission is None or record is None:
                return None
            return (not record.digest or not record.parts or transmission.archive() is not None) or None

        self.log.client.wait_for(completed, seconds=LOG_DELAY_SECONDS, backoff=LOG_DELAY_BACKOFF)
        return transmission

    def _archive_on_volume(self, job: JobRecord) -> bytes | None:
        """Return the archive from the mounted volume, where this machine can read it and it is intact."""
        directory = self.volume / job.name if self.volume else None
        if directory is None or not (directory / "end.json").is_file():
            return None
        record = parse_exit_record((directory / "end.json").read_bytes())
        archive = (directory / "results.tar.gz").read_bytes()
        if record is None or hashlib.sha256(archive).hexdigest() != record.digest:
            logger.warning("%s does not match its digest; reading the job's log instead", directory / "results.tar.gz")
            return None
        return archive


def _too_large(job: JobRecord, record: ExitRecord) -> CollectError:
    msg = f"the results of {job.name} ({record.size:,} bytes packed) exceed the limit for sending them through the log"
    hint = "raise execution.evaluation_tasks.log_limit, or set mounts[0].local_path to the volume on this machine"
    return CollectError(msg, hint=hint)


def _replace(new: Path, current: Path) -> None:
    if current.exists():
        current.rename(new.with_name(f"{new.name}.old"))
    new.rename(current)
