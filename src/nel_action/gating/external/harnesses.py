"""Formats that our own harnesses write: read by the same code that collects our jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Final

from nel_action.errors import NelActionError, ResultsError
from nel_action.formats.parsing import ParsedResult
from nel_action.gating.external.foreign import Records, foreign_run, foreign_task, unreadable
from nel_action.gating.result_set import ResultSet
from nel_action.harnesses.inspect.log import load_head
from nel_action.harnesses.interface import Harness
from nel_action.model.results import Sample, TaskResult
from nel_action.model.task import EndpointType, HarnessTask, Params

__all__ = ["read_inspect", "read_lm_eval", "read_nemo"]

_SAME: Final = (
    "scores", "primary_metric", "n_items", "n_expected", "harness_version", "task_version", "task_hash", "n_shot",
    "chat_template",
)  # fmt: skip


def read_lm_eval(files: Sequence[Path], *, name: str) -> ResultSet | None:
    """Read results files of lm-eval, with the samples beside them; several are of different tasks.

    Raises:
        ResultsError: one is not whole, or a task is there twice, of which none can be preferred.
    """
    tasks: dict[str, tuple[TaskResult, Records]] = {}
    for file in files:
        data = _json(file)
        if not isinstance(data.get("results"), dict):
            continue
        _add(tasks, dict(_lm_eval_tasks(data, file)), file)
    return foreign_run(tasks, name=name) if tasks else None


def _lm_eval_tasks(data: Mapping[str, Any], file: Path) -> Iterator[tuple[str, tuple[TaskResult, Records]]]:
    config = data.get("config") or {}
    model = _lm_eval_model(data, config)
    for task in _top_level(data):
        known = HarnessTask(
            name=task,
            display=task,
            endpoint_type=EndpointType.CHAT,
            params=Params(limit_samples=config.get("limit")),
        )
        yield task, _read("lm_eval", known, file, model, {"limit_samples": config.get("limit")})


def _add(
    tasks: dict[str, tuple[TaskResult, Records]], found: Mapping[str, tuple[TaskResult, Records]], file: Path
) -> None:
    """Add a file's tasks to those of other files.

    Raises:
        ResultsError: one is there already.
    """
    if twice := sorted(tasks.keys() & found.keys()):
        msg = f"{twice[0]} is there twice: {file.name} and another; which one is meant cannot be told"
        raise ResultsError(msg, hint="name the file itself, or the folder of one run")
    tasks.update(found)


def _lm_eval_model(data: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    arguments = config.get("model_args")
    named = arguments.get("model") if isinstance(arguments, dict) else None
    return str(named or data.get("model_name") or config.get("model") or "")


def _top_level(data: Mapping[str, Any]) -> list[str]:
    """Name the tasks and groups that are no part of another group."""
    parts = {part for parts in (data.get("group_subtasks") or {}).values() for part in parts}
    return [task for task in data["results"] if task not in parts]


def read_nemo(files: Sequence[Path], *, name: str) -> ResultSet | None:
    """Read `results.yml` files of the nemo-evaluator contract, one task each.

    Raises:
        ResultsError: one is no YAML, or two are of the same task.
    """
    import yaml

    tasks: dict[str, tuple[TaskResult, Records]] = {}
    for file in files:
        try:
            # NOTE: not the parser in C: brackets nested too deep are the end of the process there.
            data = yaml.safe_load(file.read_bytes())
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            msg = f"cannot read {file}: {error}"
            raise ResultsError(msg) from error
        config = data.get("config") if isinstance(data, dict) else None
        task = str(config.get("type")) if isinstance(config, dict) else file.parent.name
        if task in tasks:
            msg = f"{task} is there twice below one folder"
            raise ResultsError(msg, hint="name the folder of one run")
        tasks[task] = _nemo_task(task, config if isinstance(config, dict) else {}, data, file.parent)
    return foreign_run(tasks, name=name)


def _nemo_task(task: str, config: Mapping[str, Any], data: Any, folder: Path) -> tuple[TaskResult, Records]:  # noqa: ANN401 - YAML
    params = config.get("params") or {}
    target = (data.get("target") if isinstance(data, dict) else None) or {}
    known = HarnessTask(
        name=task,
        display=task,
        endpoint_type=EndpointType.CHAT,
        params=Params(limit_samples=params.get("limit_samples")),
    )
    model = str((target.get("api_endpoint") or {}).get("model_id", ""))
    return _read("nemo", known, folder, model, params)


def read_inspect(files: Sequence[Path], *, name: str) -> ResultSet | None:
    """Read inspect logs, in JSON or zipped, one task each; None where the files are something else.

    Raises:
        ResultsError: one is not whole, or a task is there twice: inspect keeps a log of every try.
    """
    tasks: dict[str, tuple[TaskResult, Records]] = {}
    for file in files:
        head = (load_head(file) if file.suffix == ".eval" else _json(file)).get("eval")
        if isinstance(head, dict) and isinstance(head.get("task"), str):
            _add(tasks, dict([_inspect_task(head, file)]), file)
    return foreign_run(tasks, name=name) if tasks else None


def _inspect_task(head: Mapping[str, Any], file: Path) -> tuple[str, tuple[TaskResult, Records]]:
    limit = (head.get("config") or {}).get("limit")
    task = HarnessTask(
        name=head["task"],
        display=head["task"].rpartition("/")[2],
        endpoint_type=EndpointType.CHAT,
        params=Params(limit_samples=limit),
    )
    return task.display, _read("inspect", task, file, str(head.get("model", "")), {"limit_samples": limit})


def _read(
    harness: str, task: HarnessTask, artifacts: Path, model: str, params: Mapping[str, Any]
) -> tuple[TaskResult, Records]:
    reader: Harness = import_module(f"nel_action.harnesses.{harness}").HARNESS
    try:
        reading = reader.read(task, artifacts)
    except NelActionError as error:
        return unreadable(task.display, model, error), lambda _: None
    same = {field: getattr(reading, field) for field in _SAME}
    result = foreign_task(task.display, model, harness=harness, params=dict(params), usage=dict(reading.usage), **same)
    # NOTE: a reading's samples can be gone through once; whoever asks again gets a new reading.
    return result, lambda metric: _records(reader.read(task, artifacts), metric)


def _records(reading: ParsedResult, metric: str) -> Iterator[dict[str, Any]] | None:
    """Hand out samples with a metric; None where the first has none, for then it is no mean over samples."""
    samples = iter(reading.samples or ())
    first = next(samples, None)
    if first is None or metric not in first.scores:
        return None
    return (_plain(sample) for sample in chain([first], samples))


def _plain(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "scores": sample.scores,
        "repeat": sample.repeat,
        "cluster": sample.cluster,
        "input": sample.input,
    }


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        msg = f"cannot read {file}: {error}"
        raise ResultsError(msg) from error
    return data if isinstance(data, dict) else {}
