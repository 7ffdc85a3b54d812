"""Input of an export: one invocation's results, its verdict if it was judged, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.gating.verdict import GateReport
from nel_action.model.results import Results, TaskResult, read_results
from nel_action.model.run_files import JobFiles, RunFiles
from nel_action.report.model import Metadata, Report
from nel_action.report.store import REPORT_JSON, load_report

__all__ = ["Attachment", "Bundle", "load_bundle"]

REQUIRED: Final = (
    "results.yml",
    "eval_factory_metrics.json",
    "run_config.yml",
    "results*.json",
    "metrics.json",
    "*.eval",
)
"""Name patterns of harness files that contain results, in any folder."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to export."""

    path: Path
    name: str
    """Relative path with slashes: `artifacts/results.yml`, `logs/client.log`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One invocation, ready for export."""

    results: Results
    run_dir: Path
    gate: GateReport | None = None
    """None if the results were not judged."""
    metadata: Metadata = field(default_factory=Metadata)
    job_dirs: dict[str, Path] = field(default_factory=dict)
    """Folder of each job's artifacts and logs, by job id."""

    @classmethod
    def of(cls, report: Report, run_dir: Path) -> Bundle:
        """Bundle a report with the files of its run directory."""
        return cls(
            results=report.results,
            gate=report.gate,
            metadata=report.metadata,
            run_dir=run_dir,
            job_dirs=_job_dirs(run_dir),
        )

    def attachments(
        self, task: TaskResult, *, artifacts: bool, logs: bool, only_required: bool, exclude: tuple[str, ...] = ()
    ) -> Iterator[Attachment]:
        """Yield a task's files in a stable order. Symbolic links are skipped: a job can point them anywhere.

        Args:
            task: result of the task.
            artifacts: include the harness's files.
            logs: include the logs.
            only_required: of the harness's files, include only those with results.
            exclude: patterns of relative paths to leave out.
        """
        root = self.job_dirs.get(task.job_id)
        if root is None:
            return
        for folder, included in ((JobFiles.ARTIFACTS, artifacts), (JobFiles.LOGS, logs)):
            for path in sorted((root / folder).rglob("*")) if included else ():
                name = path.relative_to(root).as_posix()
                all_files = folder == JobFiles.LOGS or not only_required
                matches = all_files or any(fnmatch(path.name, pattern) for pattern in REQUIRED)
                excluded = any(fnmatch(name, pattern) for pattern in exclude)
                if matches and not excluded and _is_regular(path, root):
                    yield Attachment(path, name)


def load_bundle(run_dir: Path) -> Bundle:
    """Read a run directory; the verdict is optional.

    Raises:
        ResultsError: the results or the report are missing or malformed.
    """
    if (run_dir / REPORT_JSON).exists():
        return Bundle.of(load_report(run_dir), run_dir)
    return Bundle(results=read_results(RunFiles(run_dir).results), run_dir=run_dir, job_dirs=_job_dirs(run_dir))


def _job_dirs(run_dir: Path) -> dict[str, Path]:
    """Read the folder of each job from the plan; empty for results that were not made by an invocation."""
    files = RunFiles(run_dir)
    try:
        invocation = json.loads(files.invocation.read_bytes())["invocation"]
        jobs: list[dict[str, Any]] = json.loads(files.plan.read_bytes())["jobs"]
        return {f"{invocation}.{job['index']}": files.job(Path(job["name"]).name).root for job in jobs}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"incomplete run directory: {run_dir}: {error}"
        raise ResultsError(msg) from error


def _is_regular(path: Path, root: Path) -> bool:
    """Return whether a path is a file, and neither it nor a folder between it and `root` is a symbolic link."""
    return path.is_file() and not any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(root))
