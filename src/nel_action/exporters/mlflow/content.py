"""What MLflow runs are to hold: a pure function of the results, so that it can be compared before it is sent."""

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
"""Tag that is written last: a run that carries it is whole."""

_FORBIDDEN: Final = re.compile(r"[^\w\-. :/]", re.ASCII)
_NAME: Final = 250
_VALUE: Final = 6_000
_TAG: Final = 5_000
_DAY: Final = 86_400_000


class MlflowSettings(CommonSettings):
    """`export.mlflow`."""

    tracking_uri: str | None = None
    """Address of the server, or the name of a variable that holds it; MLFLOW_TRACKING_URI unless said."""
    experiment_name: str = "nel-action"
    """Made where it is not there."""
    run_name: str | None = None
    """Of the parent run; the invocation unless said."""
    description: str | None = None
    """Shown above the parent run."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Further tags of every run."""
    extra_metadata: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of every run."""
    log_config_params: bool = False
    """Log the whole resolved spec as parameters of the parent run."""
    log_config_params_max_depth: int = 10
    """How deep the spec is flattened; what lies deeper is written as text."""
    skip_existing: bool = False
    """Leave runs that are there as they are, even where results changed."""
    exclude_patterns: tuple[str, ...] = ()
    """Files not to send, such as `*.bin` or `artifacts/cache/*`."""
    samples: bool = False
    """Send samples to the parent run, so that a gate with it as its baseline (`mlflow:<run id>`) compares item by item;
    off unless said, since questions and answers may be confidential."""
    trend: bool = False
    """Keep one more run for each model, whose metrics get a step a day: a nightly run's history in one chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """One run."""

    name: str
    identity: tuple[str, str]
    """Tag and value by which it is found again."""
    status: str
    started: int
    """Milliseconds since 1970."""
    ended: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    step: int
    """Days since 1970: runs of a nightly fall side by side."""
    files: tuple[Attachment, ...] = ()
    digest: str = ""


def parent_of(bundle: Bundle, settings: MlflowSettings, spec: Mapping[str, Any]) -> RunContent:
    """Lay out the run that stands for the invocation."""
    results = bundle.results
    created = milliseconds(results.created)
    config = flatten(dict(spec), depth=settings.log_config_params_max_depth) if settings.log_config_params else {}
    known = {
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
        tags=_tags(known, settings),
        params=_params(config | settings.extra_metadata),
        metrics={},
        step=created // _DAY,
        files=tuple(_results_files(bundle, settings)),
    )
    return _sealed(content)


def _results_files(bundle: Bundle, settings: MlflowSettings) -> Iterator[Attachment]:
    """List what makes the parent run a baseline: `results.json`, and samples where they are wanted."""
    names = [RESULTS] if settings.copy_artifacts else []
    for task in bundle.results.tasks if settings.samples else ():
        path = samples_path(bundle.run_dir, task)
        names += [str(task.samples)] if path and path.is_file() else []
    for name in names:
        if (bundle.run_dir / name).is_file():
            yield Attachment(bundle.run_dir / name, name)


def child_of(bundle: Bundle, settings: MlflowSettings, task: TaskResult) -> RunContent:
    """Lay out the run that stands for one job."""
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
        step=created // _DAY,
        files=tuple(files),
    )
    return _sealed(content)


def milliseconds(when: str) -> int:
    """Turn RFC 3339 into milliseconds since 1970."""
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
    judged = verdict_of(bundle, task)
    metrics[f"{task.task}/difference"] = judged.comparison.difference if judged and judged.comparison else None
    metrics[f"{task.task}/seconds"] = task.seconds
    metrics |= {f"{task.task}/{name}": value for name, value in task.usage.items()}
    present = {name: float(value) for name, value in metrics.items() if value is not None}
    return dict(zip(_spelled(present), present.values(), strict=True))


def _spelled(names: Iterable[str]) -> list[str]:
    """Spell names as MLflow allows, and keep different names different."""
    spelled: list[str] = []
    for name in names:
        one = _FORBIDDEN.sub("_", name)[:_NAME]
        if one != name and (one in spelled or len(name) > _NAME):
            one = f"{one[: _NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        spelled.append(one)
    return spelled


def _tags(known: Mapping[str, object], settings: MlflowSettings) -> dict[str, str]:
    present = {**settings.tags, **{name: str(value) for name, value in known.items() if value is not None}}
    return dict(zip(_spelled(present), (value[:_TAG] for value in present.values()), strict=True))


def _params(known: Mapping[str, Any]) -> dict[str, str]:
    values = (str(value)[:_VALUE] for value in known.values())
    return dict(zip(_spelled(known), values, strict=True))


def _sealed(content: RunContent) -> RunContent:
    told = {
        "name": content.name,
        "status": content.status,
        "times": (content.started, content.ended),
        "tags": content.tags,
        "params": content.params,
        "metrics": content.metrics,
        "files": {file.name: hashlib.sha256(file.path.read_bytes()).hexdigest() for file in content.files},
    }
    return replace(content, digest=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest())
