"""`report.json`: the verdict and the run's facts, kept so that any later process can render or export them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from nel_action.errors import ResultsError
from nel_action.files import write_atomically
from nel_action.gating.verdict import GateReport
from nel_action.model.results import read_results
from nel_action.report.model import Metadata, Report

__all__ = ["load_report", "save_report"]

_NAME: Final = "report.json"
_VERSION: Final = "1.0"
_METADATA: Final = TypeAdapter(Metadata)


def save_report(report: Report, run_dir: Path) -> Path:
    """Write the verdict and the facts beside `results.json`; return the path."""
    data = {
        "schema_version": _VERSION,
        "gate": report.gate.model_dump(mode="json"),
        "facts": _METADATA.dump_python(report.metadata, mode="json"),
    }
    path = run_dir / _NAME
    write_atomically(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def load_report(run_dir: Path) -> Report:
    """Read a run directory's results, verdict and metadata.

    Raises:
        ResultsError: a file is missing, of another major version or malformed.
    """
    path = run_dir / _NAME
    results = read_results(run_dir / "results.json")
    try:
        data = json.loads(path.read_bytes())
        version = str(data["schema_version"])
        if version.partition(".")[0] != _VERSION.partition(".")[0]:
            msg = f"{path} has schema version {version}; this version reads {_VERSION}"
            raise ResultsError(msg)
        gate = GateReport.model_validate(data["gate"])
        metadata = _METADATA.validate_json(json.dumps(data["facts"]))
    except FileNotFoundError as error:
        msg = f"{path} is missing: these results were not judged"
        raise ResultsError(msg, hint="nel-action gate judges a run directory") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        msg = f"{path} is not a whole report: {error}"
        raise ResultsError(msg) from error
    return Report(results=results, gate=gate, metadata=metadata)
