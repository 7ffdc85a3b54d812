"""Exporter to a local file that many invocations share and that is updated in place."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import Change, CommonSettings, Exported, ExportError, ExportOutcome
from nel_action.exporters.local import documents, tables
from nel_action.exporters.local.every_eval_ever import every_eval_ever
from nel_action.files import write_atomically

__all__ = ["Format", "LocalExporter", "LocalSettings"]


class Format(StrEnum):
    """Format of the file."""

    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"
    PARQUET = "parquet"
    EVERY_EVAL_EVER = "every_eval_ever"


class LocalSettings(CommonSettings):
    """`export.local`."""

    output_dir: str = "nel-action-results"
    """Folder of the file and of copied artifacts."""
    format: Format = Format.JSON
    """`json`, `csv`, `junit`, `parquet` (which needs pyarrow) or `every_eval_ever`."""
    output_filename: str | None = None
    """Name of the file; `processed_results.<format>` by default. JUnit has one file per invocation, `every_eval_ever`
    one for each task and model, with names of its own."""


_MERGE: Final[Mapping[Format, Callable[[bytes | None, Bundle, Sequence[str]], tuple[bytes, dict[str, Change]]]]] = {
    Format.JSON: documents.merge_json,
    Format.CSV: tables.merge_csv,
    Format.JUNIT: documents.junit,
    Format.PARQUET: tables.merge_parquet,
}
"""For each format, the function that merges an invocation into the old content, and returns the change per job."""


class LocalExporter:
    """Exports to a file; exporting the same results again does not change a byte."""

    name = "local"
    settings = LocalSettings

    def check(self, settings: LocalSettings, environ: Mapping[str, str]) -> Sequence[Problem]:  # noqa: ARG002
        """Return a problem if Parquet is not available or the file name is a path."""
        if settings.format is Format.PARQUET and find_spec("pyarrow") is None:
            return [Problem("format parquet needs pyarrow, which is not installed", hint="pip install pyarrow")]
        if settings.output_filename and settings.format is Format.EVERY_EVAL_EVER:
            return [Problem("export.local.output_filename has no effect with format every_eval_ever", hint="remove it")]
        if settings.output_filename and Path(settings.output_filename).name != settings.output_filename:
            return [
                Problem(
                    "export.local.output_filename must be a name, not a path", hint="set the folder with output_dir"
                )
            ]
        return []

    def export(self, bundle: Bundle, settings: LocalSettings, environ: Mapping[str, str]) -> ExportOutcome:  # noqa: ARG002
        """Merge one invocation into the file, and copy its artifacts to the same folder.

        Raises:
            ExportError: the file is not writable, or is not a file of this exporter.
        """
        folder = Path(settings.output_dir)
        if settings.format is Format.EVERY_EVAL_EVER:
            return ExportOutcome(destination=self.name, items=tuple(_write_records(bundle, settings, folder)))
        path = folder / _file_name(settings, bundle)
        try:
            with _locked(path):
                old = path.read_bytes() if path.exists() else None
                new, changes = _MERGE[settings.format](old, bundle, settings.log_metrics)
                if new != old:
                    write_atomically(path, new)
            copies = tuple(_copy(bundle, settings, folder))
        except OSError as error:
            msg = f"cannot write {error.filename or path}: {error.strerror or error}"
            raise ExportError(msg) from error
        except ValueError as error:
            msg = f"{path} is not a file of exported results: {error}"
            raise ExportError(msg, hint="choose another output_filename; the file has not been changed") from error
        items = tuple(Exported(job, change, str(path)) for job, change in changes.items())
        return ExportOutcome(destination=self.name, items=items + copies)


def _write_records(bundle: Bundle, settings: LocalSettings, folder: Path) -> Iterator[Exported]:
    """Write a record for each task and model, and copy its artifacts.

    Raises:
        ExportError: a file is not writable.
    """
    path = folder
    try:
        for task, name, content in every_eval_ever(bundle, settings.log_metrics):
            path = folder / name
            current = path.read_bytes() if path.is_file() else None
            if current != content:
                write_atomically(path, content)
            change = Change.UNCHANGED if current == content else Change.CREATED if current is None else Change.UPDATED
            yield Exported(task.job_id, change, str(path))
        yield from _copy(bundle, settings, folder)
    except OSError as error:
        msg = f"cannot write {error.filename or path}: {error.strerror or error}"
        raise ExportError(msg) from error


def _file_name(settings: LocalSettings, bundle: Bundle) -> str:
    if settings.output_filename:
        return settings.output_filename
    if settings.format is Format.JUNIT:
        return f"junit-{bundle.results.invocation}.xml"
    return f"processed_results.{settings.format.value}"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file, so that concurrent exports do not lose each other's rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy(bundle: Bundle, settings: LocalSettings, folder: Path) -> Iterator[Exported]:
    for task in bundle.results.tasks:
        files = bundle.attachments(
            task,
            artifacts=settings.copy_artifacts,
            logs=settings.copy_logs,
            only_required=settings.only_required,
        )
        for file in files:
            target = folder / task.job_id / file.name
            data = file.path.read_bytes()
            current = target.read_bytes() if target.is_file() else None
            if current != data:
                write_atomically(target, data)
            change = Change.UNCHANGED if current == data else Change.CREATED if current is None else Change.UPDATED
            yield Exported(f"{task.job_id}/{file.name}", change, str(target))
