"""Files of a report in its run directory: `report.json`, which any later process can load, and the samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from nel_action.errors import ResultsError
from nel_action.files import write_atomically
from nel_action.gating.verdict import GateReport
from nel_action.model.results import TaskResult, read_results
from nel_action.model.run_files import RunFiles
from nel_action.report.model import Metadata, Report

__all__ = ["REPORT_JSON", "load_report", "samples_path", "save_report"]

REPORT_JSON: Final = "report.json"
_VERSION: Final = "1.0"
_METADATA: Final = TypeAdapter(Metadata)


def save_report(report: Report, run_dir: Path) -> Path:
    """Write verdict and metadata to `report.json` in the run directory; return the path."""
    data = {
        "schema_version": _VERSION,
        "gate": report.gate.model_dump(mode="json"),
        "facts": _METADATA.dump_python(report.metadata, mode="json"),
    }
    path = run_dir / REPORT_JSON
    write_atomically(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def load_report(run_dir: Path) -> Report:
    """Read the results, the verdict and the metadata in a run directory.

    Raises:
        ResultsError: a file is missing, malformed or of another major version.
    """
    path = run_dir / REPORT_JSON
    results = read_results(RunFiles(run_dir).results)
    try:
        data = json.loads(path.read_bytes())
        version = str(data["schema_version"])
        if version.partition(".")[0] != _VERSION.partition(".")[0]:
            msg = f"{path} has schema version {version}; this version reads {_VERSION}"
            raise ResultsError(msg)
        gate = GateReport.model_validate(data["gate"])
        metadata = _METADATA.validate_json(json.dumps(data["facts"]))
    except FileNotFoundError as error:
        msg = f"{path} is missing: these results have not been judged"
        raise ResultsError(msg, hint="evaluate them with nel-action gate") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        msg = f"{path} is not a valid report: {error}"
        raise ResultsError(msg) from error
    return Report(results=results, gate=gate, metadata=metadata)


def samples_path(root: Path, task: TaskResult) -> Path | None:
    """Return the path of a task's samples file; None if the task has none.

    Args:
        root: folder of `results.json`.
        task: result of the task.

    Raises:
        ResultsError: the results name a file outside their folder; results may come from an untrusted source.
    """
    if not task.samples:
        return None
    path = (root / task.samples).resolve()
    if not path.is_relative_to(root.resolve()):
        msg = f"{task.task}: samples file outside the folder of the results: {task.samples}"
        raise ResultsError(msg)
    return path
