"""What is exported: one invocation's results, its verdict where it was judged, and the files beside them."""

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
from nel_action.report.model import Metadata, Report
from nel_action.report.store import load_report

__all__ = ["Attachment", "Bundle", "load_bundle"]

REQUIRED: Final = (
    "results.yml",
    "eval_factory_metrics.json",
    "run_config.yml",
    "results*.json",
    "metrics.json",
    "*.eval",
)
"""Names of harness files that hold results, in any folder."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to send along."""

    path: Path
    name: str
    """Relative, with slashes: `artifacts/results.yml`, `logs/client.log`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One invocation, ready to be sent."""

    results: Results
    run_dir: Path
    gate: GateReport | None = None
    """None where the results were not judged."""
    metadata: Metadata = field(default_factory=Metadata)
    job_dirs: dict[str, Path] = field(default_factory=dict)
    """Job id → where its artifacts and logs lie."""

    @classmethod
    def of(cls, report: Report, run_dir: Path) -> Bundle:
        """Bundle a report that was just made."""
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
        """List a task's files in a stable order. Links are never followed: a job could point them anywhere."""
        home = self.job_dirs.get(task.job_id)
        if home is None:
            return
        for folder, wanted in (("artifacts", artifacts), ("logs", logs)):
            for path in sorted((home / folder).rglob("*")) if wanted else ():
                name = path.relative_to(home).as_posix()
                chosen = folder == "logs" or not only_required or any(fnmatch(path.name, one) for one in REQUIRED)
                if chosen and _is_own_file(path, home) and not any(fnmatch(name, one) for one in exclude):
                    yield Attachment(path, name)


def load_bundle(run_dir: Path) -> Bundle:
    """Read a run directory; one that was not judged is fine.

    Raises:
        ResultsError: `results.json` or `report.json` is malformed, or there are no results.
    """
    if (run_dir / "report.json").exists():
        return Bundle.of(load_report(run_dir), run_dir)
    return Bundle(results=read_results(run_dir / "results.json"), run_dir=run_dir, job_dirs=_job_dirs(run_dir))


def _job_dirs(run_dir: Path) -> dict[str, Path]:
    """Read from the plan where each job's files lie."""
    try:
        invocation = json.loads((run_dir / "invocation.json").read_bytes())["invocation"]
        jobs: list[dict[str, Any]] = json.loads((run_dir / "plan.json").read_bytes())["jobs"]
        return {f"{invocation}.{job['index']}": run_dir / Path(job["name"]).name for job in jobs}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{run_dir} is not a whole run directory: {error}"
        raise ResultsError(msg) from error


def _is_own_file(path: Path, home: Path) -> bool:
    return path.is_file() and not any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(home))
