"""Content of the MLflow runs, as a pure function of the results: it is compared before it is sent."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pydantic import Field

from nel_action.exporters.bundle import Attachment, Bundle
from nel_action.exporters.interface import CommonSettings
from nel_action.exporters.records import flatten, provenance, records_of, verdict_of
from nel_action.model.results import JobOutcome, TaskResult
from nel_action.report.store import samples_path

__all__ = ["DIGEST", "RESULTS", "MlflowSettings", "RunContent", "child_of", "milliseconds", "parent_of"]

RESULTS: Final = "results.json"
DIGEST: Final = "nel_action.digest"
"""Tag that is written last: a run with it is complete."""

_FORBIDDEN: Final = re.compile(r"[^\w\-. :/]", re.ASCII)
_MAX_NAME: Final = 250
_MAX_PARAM: Final = 6_000
_MAX_TAG: Final = 5_000
_DAY_IN_MS: Final = 86_400_000


class MlflowSettings(CommonSettings):
    """`export.mlflow`."""

    tracking_uri: str | None = None
    """Address of the server, or the name of a variable with it; MLFLOW_TRACKING_URI by default."""
    experiment_name: str = "nel-action"
    """Name of the experiment; created if it does not exist."""
    run_name: str | None = None
    """Name of the parent run; the invocation by default."""
    description: str | None = None
    """Description of the parent run."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Additional tags of every run."""
    extra_metadata: dict[str, Any] = Field(default_factory=dict)
    """Additional parameters of every run."""
    log_config_params: bool = False
    """Log the resolved spec as parameters of the parent run."""
    log_config_params_max_depth: int = 10
    """Levels of the spec that are flattened; deeper ones are logged as text."""
    skip_existing: bool = False
    """Do not update existing runs, even if their results have changed."""
    exclude_patterns: tuple[str, ...] = ()
    """Patterns of files that are not exported, such as `*.bin` or `artifacts/cache/*`."""
    samples: bool = False
    """Export the samples to the parent run: a gate with this baseline (`mlflow:<run id>`) then compares item by item.
    Off by default, since questions and answers may be confidential."""
    trend: bool = False
    """Keep one more run per model, whose metrics get one step per day: the history of scheduled runs in one chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """Content of one run."""

    name: str
    identity: tuple[str, str]
    """Tag and value that identify the run."""
    status: str
    started: int
    """Milliseconds since 1970."""
    ended: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    step: int
    """Days since 1970, so that scheduled runs are at equal distances."""
    files: tuple[Attachment, ...] = ()
    digest: str = ""


def parent_of(bundle: Bundle, settings: MlflowSettings, spec: Mapping[str, Any]) -> RunContent:
    """Return the content of the run of the invocation.

    Args:
        bundle: the invocation.
        settings: options of the exporter.
        spec: the resolved spec, for `log_config_params`.
    """
    results = bundle.results
    created = milliseconds(results.created)
    config = flatten(dict(spec), depth=settings.log_config_params_max_depth) if settings.log_config_params else {}
    fields = {
        "invocation_id": results.invocation,
        "repository": results.repository,
        "commit": results.commit,
        "pull_request": bundle.metadata.pull_request,
        "spec_digest": results.spec_digest,
        "tool_version": results.tool_version,
        "executor": bundle.metadata.executor,
        "gate": bundle.gate.verdict.value if bundle.gate else None,
        "mlflow.note.content": settings.description,
        **{f"link.{link.label}": link.url for link in bundle.metadata.links},
    }
    content = RunContent(
        name=settings.run_name or f"invocation {results.invocation}",
        identity=("nel_action.parent", results.invocation),
        status="FINISHED",
        started=created,
        ended=created,
        tags=_tags(fields, settings),
        params=_params(config | settings.extra_metadata),
        metrics={},
        step=created // _DAY_IN_MS,
        files=tuple(_results_files(bundle, settings)),
    )
    return _with_digest(content)


def _results_files(bundle: Bundle, settings: MlflowSettings) -> Iterator[Attachment]:
    """Yield the files that make the parent run a baseline: `results.json`, and the samples if they are exported."""
    names = [RESULTS] if settings.copy_artifacts else []
    for task in bundle.results.tasks if settings.samples else ():
        path = samples_path(bundle.run_dir, task)
        names += [str(task.samples)] if path and path.is_file() else []
    for name in names:
        if (bundle.run_dir / name).is_file():
            yield Attachment(bundle.run_dir / name, name)


def child_of(bundle: Bundle, settings: MlflowSettings, task: TaskResult) -> RunContent:
    """Return the content of the run of one job.

    Args:
        bundle: the invocation.
        settings: options of the exporter.
        task: result of the job.
    """
    created = milliseconds(bundle.results.created)
    files = bundle.attachments(
        task,
        artifacts=settings.copy_artifacts,
        logs=settings.copy_logs,
        only_required=settings.only_required,
        exclude=settings.exclude_patterns,
    )
    content = RunContent(
        name=f"{task.task} · {task.model}",
        identity=("job_id", task.job_id),
        status=_STATUS[task.outcome],
        started=milliseconds(task.started) if task.started else created,
        ended=milliseconds(task.ended) if task.ended else created,
        tags=_tags(provenance(bundle, task), settings),
        params=_params(flatten(task.params) | settings.extra_metadata),
        metrics=_metrics(bundle, settings, task),
        step=created // _DAY_IN_MS,
        files=tuple(files),
    )
    return _with_digest(content)


def milliseconds(when: str) -> int:
    """Convert an RFC 3339 time to milliseconds since 1970."""
    return int(datetime.fromisoformat(when).timestamp() * 1000)


_STATUS: Final = {
    JobOutcome.SUCCEEDED: "FINISHED",
    JobOutcome.FAILED: "FAILED",
    JobOutcome.CANCELLED: "KILLED",
    JobOutcome.RUNNING: "RUNNING",
    JobOutcome.UNKNOWN: "RUNNING",
}


def _metrics(bundle: Bundle, settings: MlflowSettings, task: TaskResult) -> dict[str, float]:
    metrics: dict[str, float | int | None] = {}
    for record in records_of(bundle, settings.log_metrics):
        if record.task is task:
            name = f"{task.task}/{record.score.metric}"
            metrics |= {name: record.score.value, f"{name}_stderr": record.score.stderr, f"{name}_n": record.score.n}
    verdict = verdict_of(bundle, task)
    metrics[f"{task.task}/difference"] = verdict.comparison.difference if verdict and verdict.comparison else None
    metrics[f"{task.task}/seconds"] = task.seconds
    metrics |= {f"{task.task}/{name}": value for name, value in task.usage.items()}
    present = {name: float(value) for name, value in metrics.items() if value is not None}
    return dict(zip(_valid_names(present), present.values(), strict=True))


def _valid_names(names: Iterable[str]) -> list[str]:
    """Replace characters that MLflow does not allow; different names stay different."""
    valid: list[str] = []
    for name in names:
        candidate = _FORBIDDEN.sub("_", name)[:_MAX_NAME]
        if candidate != name and (candidate in valid or len(name) > _MAX_NAME):
            candidate = f"{candidate[: _MAX_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        valid.append(candidate)
    return valid


def _tags(fields: Mapping[str, object], settings: MlflowSettings) -> dict[str, str]:
    present = {**settings.tags, **{name: str(value) for name, value in fields.items() if value is not None}}
    return dict(zip(_valid_names(present), (value[:_MAX_TAG] for value in present.values()), strict=True))


def _params(values: Mapping[str, Any]) -> dict[str, str]:
    texts = (str(value)[:_MAX_PARAM] for value in values.values())
    return dict(zip(_valid_names(values), texts, strict=True))


def _with_digest(content: RunContent) -> RunContent:
    data = {
        "name": content.name,
        "status": content.status,
        "times": (content.started, content.ended),
        "tags": content.tags,
        "params": content.params,
        "metrics": content.metrics,
        "files": {file.name: hashlib.sha256(file.path.read_bytes()).hexdigest() for file in content.files},
    }
    return replace(content, digest=hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest())
