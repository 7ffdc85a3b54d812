"""Content of the W&B runs, as a pure function of the results: it is compared before it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nel_action.exporters.bundle import Attachment, Bundle
from nel_action.exporters.interface import CommonSettings
from nel_action.exporters.records import provenance, records_of, verdict_of
from nel_action.model.results import TaskResult
from nel_action.report.store import samples_path

__all__ = ["DIGEST", "LogMode", "RunContent", "WandbSettings", "contents_of"]

DIGEST = "nel_action_digest"
"""Key in the config of a run: digest of its content."""

_TAG_LENGTH = 64


class LogMode(StrEnum):
    """Assignment of jobs to runs."""

    PER_TASK = "per_task"
    MULTI_TASK = "multi_task"


class WandbSettings(CommonSettings):
    """`export.wandb`."""

    entity: str | None = None
    """Team or user; that of the API key by default."""
    project: str = "nel-action"
    """Name of the project; created if it does not exist."""
    log_mode: LogMode = LogMode.PER_TASK
    """`per_task`: one run per job; `multi_task`: one run per invocation."""
    name: str | None = None
    """Name of the run; task and model, or the invocation, by default."""
    group: str | None = None
    """Group of the runs; the invocation by default."""
    job_type: str = "evaluation"
    """Job type of the runs."""
    tags: tuple[str, ...] = ()
    """Additional tags; those of verdict and task are always set."""
    description: str | None = None
    """Notes of the run."""
    extra_metadata: dict[str, Any] = Field(default_factory=dict)
    """Additional entries of the config."""
    run_id: str | None = None
    """Id of an existing run to update; only for a single run."""
    mode: Literal["online", "offline"] | None = None
    """`offline` writes files for `wandb sync`; the value of WANDB_MODE by default."""
    offline_dir: str | None = None
    """Folder of offline runs; the run directory by default."""
    samples: int = 0
    """Rows of the samples table; 0 exports none, since questions and answers may be confidential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """Content of one run."""

    id: str
    """Identifies the run on any machine."""
    name: str
    group: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    summary: Mapping[str, float | int | str]
    tasks: tuple[TaskResult, ...]
    files: tuple[Attachment, ...] = field(default=())
    digest: str = ""
    """Digest of the other fields; a run with the same digest is not sent."""


def contents_of(bundle: Bundle, settings: WandbSettings) -> Iterator[RunContent]:
    """Yield the runs of an invocation."""
    tasks = bundle.results.tasks
    if settings.log_mode is LogMode.MULTI_TASK:
        yield _content(bundle, settings, tasks, bundle.results.invocation, f"invocation {bundle.results.invocation}")
        return
    for task in tasks:
        # NOTE: the key of the job identifies the run, so that a result reused by a later invocation stays one run.
        yield _content(bundle, settings, (task,), task.key, f"{task.task} · {task.model}")


def _content(
    bundle: Bundle, settings: WandbSettings, tasks: tuple[TaskResult, ...], identity: str, name: str
) -> RunContent:
    # NOTE: with several models the name of the task alone would not be unique.
    several = len({task.model for task in tasks}) > 1
    labelled = {f"{task.task}@{task.model}" if several else task.task: task for task in tasks}
    config = {**settings.extra_metadata, "tasks": {label: _config(bundle, task) for label, task in labelled.items()}}
    summary = {
        name: value
        for label, task in labelled.items()
        for name, value in _summary(bundle, settings, task, label).items()
    }
    files = tuple(
        Attachment(file.path, f"{task.job_id}/{file.name}")
        for task in tasks
        for file in bundle.attachments(
            task, artifacts=settings.copy_artifacts, logs=settings.copy_logs, only_required=settings.only_required
        )
    )
    verdicts = {verdict.verdict.value for task in tasks if (verdict := verdict_of(bundle, task))}
    own = (*(task.task for task in tasks), *sorted(verdicts))
    content = RunContent(
        id=settings.run_id or identity,
        name=settings.name or name,
        group=settings.group or bundle.results.invocation,
        tags=tuple(dict.fromkeys(tag[:_TAG_LENGTH] for tag in (*settings.tags, *own) if tag)),
        config=config,
        summary=summary,
        tasks=tasks,
        files=files,
    )
    return _with_digest(content, settings, bundle.run_dir)


def _config(bundle: Bundle, task: TaskResult) -> dict[str, Any]:
    return {**provenance(bundle, task), "params": task.params, "command": list(task.command), "attempts": task.attempts}


def _summary(bundle: Bundle, settings: WandbSettings, task: TaskResult, label: str) -> dict[str, float | int | str]:
    summary: dict[str, float | int | str | None] = {f"{label}/outcome": task.outcome.value}
    for record in records_of(bundle, settings.log_metrics):
        if record.task is task:
            name = f"{label}/{record.score.metric}"
            summary[name] = record.score.value
            summary |= {f"{name}_stderr": record.score.stderr, f"{name}_n": record.score.n}
    verdict = verdict_of(bundle, task)
    comparison = verdict.comparison if verdict else None
    summary[f"{label}/verdict"] = verdict.verdict.value if verdict else None
    summary[f"{label}/difference"] = comparison.difference if comparison else None
    summary[f"{label}/seconds"] = task.seconds
    summary |= {f"{label}/{name}": value for name, value in task.usage.items()}
    return {name: value for name, value in summary.items() if value is not None}


def _with_digest(content: RunContent, settings: WandbSettings, run_dir: Path) -> RunContent:
    data = {
        "settings": settings.model_dump(mode="json"),
        "name": content.name,
        "group": content.group,
        "tags": content.tags,
        "config": content.config,
        "summary": content.summary,
        "files": {file.name: _digest(file.path) for file in content.files},
        "samples": [_digest(path) for path in _samples(content.tasks, run_dir)] if settings.samples else [],
    }
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
    return replace(content, digest=digest, config={**content.config, DIGEST: digest})


def _samples(tasks: Iterable[TaskResult], run_dir: Path) -> Iterator[Path]:
    for task in tasks:
        path = samples_path(run_dir, task)
        if path and path.is_file():
            yield path


def _digest(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
