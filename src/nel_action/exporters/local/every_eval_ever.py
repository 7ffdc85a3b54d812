"""Records of Every Eval Ever (schema 0.3.0): one file for each task and model, in the folders of its data store.

Two required fields are not in our results: whether lower values are better, where no harness, catalog or policy states
it (such a score is left out), and the organisation, which is the repository's owner.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from nel_action.exporters.bundle import Bundle
from nel_action.exporters.records import records_of, verdict_of
from nel_action.model.results import Score, TaskResult

__all__ = ["every_eval_ever"]

_SCHEMA_VERSION: Final = "0.3.0"
_UNKNOWN: Final = "unknown"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def every_eval_ever(bundle: Bundle, patterns: Sequence[str]) -> Iterator[tuple[TaskResult, str, bytes]]:
    """Yield each task with the relative path and the content of its record.

    Args:
        bundle: the invocation.
        patterns: `log_metrics`.
    """
    records = list(records_of(bundle, patterns))
    for task in bundle.results.tasks:
        verdict = verdict_of(bundle, task)
        scores = []
        for record in records:
            if record.task is task:
                higher = record.score.higher_is_better
                if higher is None and verdict is not None and verdict.metric == record.score.metric:
                    higher = verdict.higher_is_better
                if higher is not None:
                    scores.append(_result(task, record.score, higher_is_better=higher))
        if scores:
            content = json.dumps(_record(bundle, task, scores), indent=2, ensure_ascii=False) + "\n"
            yield task, _path(bundle, task), content.encode()


def _path(bundle: Bundle, task: TaskResult) -> str:
    """Return the path of a record; the same results have the same path."""
    digest = hashlib.sha256(f"{bundle.results.invocation}/{task.task}/{task.model}".encode()).digest()
    developer, _, model = _model_id(task).rpartition("/")
    parts = (_UNSAFE.sub("_", part).strip(".") or _UNKNOWN for part in (task.task, developer, model))
    return f"data/{'/'.join(parts)}/{UUID(bytes=digest[:16], version=4)}.json"


def _model_id(task: TaskResult) -> str:
    return task.model if "/" in task.model.strip("/") else f"{_UNKNOWN}/{task.model.strip('/') or _UNKNOWN}"


def _record(bundle: Bundle, task: TaskResult, scores: list[dict[str, Any]]) -> dict[str, Any]:
    model, created = _model_id(task), _epoch(bundle.results.created)
    owner = (bundle.results.repository or "").partition("/")[0]
    details = {"repository": bundle.results.repository, "commit": bundle.results.commit}
    record = {
        "schema_version": _SCHEMA_VERSION,
        "evaluation_id": f"{task.task}/{model}/{created}",
        "evaluation_timestamp": _epoch(task.ended) if task.ended else None,
        "retrieved_timestamp": created,
        "source_metadata": {
            "source_name": "nel-action",
            "source_type": "evaluation_run",
            "source_organization_name": owner or _UNKNOWN,
            "evaluator_relationship": "other",
            "additional_details": {key: value for key, value in details.items() if value},
        },
        "eval_library": {"name": task.harness or _UNKNOWN, "version": task.harness_version or _UNKNOWN},
        "model_info": {
            "name": task.model or _UNKNOWN,
            "id": model,
            "developer": model.partition("/")[0],
            "additional_details": {"deployment_type": _UNKNOWN, "model_availability": _UNKNOWN},
        },
        "evaluation_results": scores,
    }
    return {key: value for key, value in record.items() if value is not None}


def _result(task: TaskResult, score: Score, *, higher_is_better: bool) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {}
    if score.stderr is not None:
        uncertainty["standard_error"] = {"value": score.stderr}
    if score.n is not None:
        uncertainty["num_samples"] = score.n
    details = {"task_version": task.task_version, "task_hash": task.task_hash}
    params = {
        key: task.params[key] for key in ("temperature", "top_p") if isinstance(task.params.get(key), int | float)
    }
    tokens = task.params.get("max_new_tokens")
    params |= {"max_tokens": tokens} if isinstance(tokens, int) and tokens > 0 else {}
    return {
        "evaluation_result_id": score.metric,
        "evaluation_name": task.task,
        "source_data": {"dataset_name": task.task, "source_type": "other"},
        "metric_config": {
            "metric_name": score.metric,
            "lower_is_better": not higher_is_better,
            "additional_details": {key: value for key, value in details.items() if value},
        },
        "score_details": {"score": score.value} | ({"uncertainty": uncertainty} if uncertainty else {}),
        **({"generation_config": {"generation_args": params}} if params else {}),
    }


def _epoch(time: str) -> str:
    """Return an RFC 3339 time as seconds since 1970; an unknown time is 0."""
    try:
        return f"{datetime.fromisoformat(time).timestamp():.0f}"
    except ValueError:
        return "0"
