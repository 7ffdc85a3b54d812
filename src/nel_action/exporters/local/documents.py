"""JSON and JUnit files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import Change
from nel_action.exporters.records import provenance, records_of, verdict_of
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import TaskResult
from nel_action.report.junit import render_junit
from nel_action.report.model import Report

__all__ = ["junit", "merge_json"]


def merge_json(old: bytes | None, bundle: Bundle, wanted: Sequence[str]) -> tuple[bytes, dict[str, Change]]:
    """Put each job's entry under its task and model; an entry of the same job is replaced where it differs.

    Raises:
        ValueError: `old` is not such a file.
    """
    data = _read(old)
    changes = {}
    for task in bundle.results.tasks:
        models = data["benchmarks"].setdefault(task.task, {"models": {}})["models"]
        changes[task.job_id] = _upsert(models.setdefault(task.model, []), _entry(bundle, task, wanted))
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode(), changes


def junit(old: bytes | None, bundle: Bundle, wanted: Sequence[str]) -> tuple[bytes, dict[str, Change]]:  # noqa: ARG001
    """Render the report as JUnit; there is one verdict for each task, so `log_metrics` has no say in it."""
    # NOTE: results that nobody judged have no verdicts, and every case of theirs only says whether it ran.
    gate = bundle.gate or GateReport(verdict=Verdict.UNMEASURABLE, exit_code=3)
    new = render_junit(Report(results=bundle.results, gate=gate, metadata=bundle.metadata))
    change = Change.CREATED if old is None else Change.UNCHANGED if old == new else Change.UPDATED
    return new, {task.job_id: change for task in bundle.results.tasks}


def _read(old: bytes | None) -> dict[str, Any]:
    data = json.loads(old) if old is not None else {"benchmarks": {}}
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), dict):
        msg = "no 'benchmarks' in it"
        raise ValueError(msg)  # noqa: TRY004 - the content is wrong, whatever its type
    return data


def _upsert(entries: list[dict[str, Any]], entry: dict[str, Any]) -> Change:
    for index, known in enumerate(entries):
        if known.get("job_id") == entry["job_id"]:
            entries[index] = entry
            return Change.UNCHANGED if known == entry else Change.UPDATED
    entries.append(entry)
    return Change.CREATED


def _entry(bundle: Bundle, task: TaskResult, wanted: Sequence[str]) -> dict[str, Any]:
    records = [record for record in records_of(bundle, wanted) if record.task is task]
    judged = verdict_of(bundle, task)
    flat: dict[str, float] = {}
    for record in records:
        metric = record.score.metric
        flat[metric] = record.score.value
        flat |= {f"{metric}_stderr": record.score.stderr} if record.score.stderr is not None else {}
        flat |= {f"{metric}_n": record.score.n} if record.score.n is not None else {}
    return {
        **provenance(bundle, task),
        "container": task.image,
        "timestamp": bundle.results.created,
        "results_dir": str(bundle.job_dirs.get(task.job_id, bundle.run_dir)),
        "scores": flat,
        "params": task.params,
        "usage": task.usage,
        "seconds": task.seconds,
        "gate": judged.model_dump(mode="json", exclude={"comparison": {"worse", "better"}}) if judged else None,
    }
