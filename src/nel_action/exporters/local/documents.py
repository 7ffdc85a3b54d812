"""JSON and JUnit files of the local exporter."""

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


def merge_json(old: bytes | None, bundle: Bundle, patterns: Sequence[str]) -> tuple[bytes, dict[str, Change]]:
    """Add one entry per job below its task and model; an entry of the same job is replaced.

    Args:
        old: content of the file; None if there is none.
        bundle: the invocation.
        patterns: `log_metrics`.

    Returns:
        The new content, and the change to each job by job id.

    Raises:
        ValueError: `old` is not a file of this exporter.
    """
    data = _parse(old)
    changes = {}
    for task in bundle.results.tasks:
        models = data["benchmarks"].setdefault(task.task, {"models": {}})["models"]
        changes[task.job_id] = _upsert(models.setdefault(task.model, []), _entry(bundle, task, patterns))
    return (json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode(), changes


def junit(old: bytes | None, bundle: Bundle, patterns: Sequence[str]) -> tuple[bytes, dict[str, Change]]:  # noqa: ARG001
    """Render the report as JUnit.

    Args:
        old: content of the file; None if there is none.
        bundle: the invocation.
        patterns: ignored, since JUnit has one verdict per task.

    Returns:
        The new content, and the change to each job by job id.
    """
    # NOTE: without a verdict each case reports only whether its job succeeded.
    gate = bundle.gate or GateReport(verdict=Verdict.UNMEASURABLE, exit_code=3)
    new = render_junit(Report(results=bundle.results, gate=gate, metadata=bundle.metadata))
    change = Change.CREATED if old is None else Change.UNCHANGED if old == new else Change.UPDATED
    return new, {task.job_id: change for task in bundle.results.tasks}


def _parse(old: bytes | None) -> dict[str, Any]:
    data = json.loads(old) if old is not None else {"benchmarks": {}}
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), dict):
        msg = "no key 'benchmarks'"
        raise ValueError(msg)  # noqa: TRY004 - the content is wrong, whatever its type
    return data


def _upsert(entries: list[dict[str, Any]], entry: dict[str, Any]) -> Change:
    for index, current in enumerate(entries):
        if current.get("job_id") == entry["job_id"]:
            entries[index] = entry
            return Change.UNCHANGED if current == entry else Change.UPDATED
    entries.append(entry)
    return Change.CREATED


def _entry(bundle: Bundle, task: TaskResult, patterns: Sequence[str]) -> dict[str, Any]:
    records = [record for record in records_of(bundle, patterns) if record.task is task]
    verdict = verdict_of(bundle, task)
    scores: dict[str, float] = {}
    for record in records:
        metric = record.score.metric
        scores[metric] = record.score.value
        scores |= {f"{metric}_stderr": record.score.stderr} if record.score.stderr is not None else {}
        scores |= {f"{metric}_n": record.score.n} if record.score.n is not None else {}
    return {
        **provenance(bundle, task),
        "container": task.image,
        "timestamp": bundle.results.created,
        "results_dir": str(bundle.job_dirs.get(task.job_id, bundle.run_dir)),
        "scores": scores,
        "params": task.params,
        "usage": task.usage,
        "seconds": task.seconds,
        "gate": verdict.model_dump(mode="json", exclude={"comparison": {"worse", "better"}}) if verdict else None,
    }
