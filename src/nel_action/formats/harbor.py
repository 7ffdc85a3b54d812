"""Job directories of Harbor: `result.json` of the job, and one directory with a `result.json` for each trial.

Each dataset is a task, each of its tasks an item, each trial a repeat. The metrics are the verifier's rewards. A trial
whose reward Harbor calls invalid (an interrupted set-up, an exhausted rate limit) is not measured; one that the agent's
time limit stopped is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.cases import Case, finite, is_json_of, parsed_cases
from nel_action.formats.parsing import (
    DetectedResult,
    ParsedResult,
    as_mapping,
    load_json,
    parse_count,
    recorded_task,
    schema_guard,
)
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

_RESULT: Final = "result.json"
_JOB: Final = ("n_total_trials", "stats")
_PRIMARY: Final = "reward"


def detect(path: Path) -> list[DetectedResult]:
    """Find the datasets of a job.

    Raises:
        ResultsError: a trial's result is truncated or malformed.
    """
    directory = path if path.is_dir() else path.parent
    file = directory / _RESULT
    if (not path.is_dir() and path.name != _RESULT) or not file.is_file() or is_json_of(file, *_JOB) is None:
        return []
    with schema_guard(file.name):
        names = {_name(trial): _model(trial) for trial in _trials(directory)}
    # NOTE: several agents or models of one dataset are tasks of their own.
    datasets = [dataset for dataset, _ in names]
    return [
        DetectedResult(
            task=recorded_task(
                json.dumps([dataset, agent]),
                display=dataset if datasets.count(dataset) == 1 else f"{dataset} ({agent})",
            ),
            artifacts=directory,
            model=model,
        )
        for (dataset, agent), model in names.items()
    ]


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read the trials of one dataset.

    Args:
        path: the job's directory.
        task: the task as it was detected.

    Raises:
        ResultsError: a file is truncated or malformed, the job is unfinished, or no trial was measured.
    """
    job = load_json(path / _RESULT)
    with schema_guard(path.name):
        every = _trials(path)
        total = parse_count(job["n_total_trials"])
        if total is None or total != len(every):
            msg = f"{path.name} has {len(every)} of {total} trials"
            raise ResultsError(msg, hint="the job is unfinished or incomplete; resume it with Harbor")
        trials = [trial for trial in every if json.dumps(_name(trial)) == task.name]
        cases = [_case(trial) for trial in trials]
        rewards = dict.fromkeys(name for case in cases for name in case.values)
        ordered = sorted(rewards, key=lambda name: name != _PRIMARY)
        checksums = sorted({(str(trial["task_name"]), str(trial["task_checksum"])) for trial in trials})
        return parsed_cases(
            cases,
            task,
            metrics=dict.fromkeys(ordered, True),
            task_hash=hashlib.sha256(json.dumps(checksums).encode()).hexdigest(),
            usage=_usage(trials),
        )


def _trials(directory: Path) -> list[Mapping[str, Any]]:
    """Return the results of all trials in the order of their names."""
    return [load_json(file) for file in sorted(directory.glob(f"*/{_RESULT}"))]


def _name(trial: Mapping[str, Any]) -> tuple[str, str]:
    """Return dataset and agent of a trial."""
    agent = as_mapping(trial["agent_info"])
    return str(trial.get("source") or "adhoc"), " ".join(filter(None, (str(agent.get("name")), _model(trial))))


def _model(trial: Mapping[str, Any]) -> str:
    model = as_mapping(as_mapping(trial["agent_info"]).get("model_info"))
    return "/".join(str(model[key]) for key in ("provider", "name") if model.get(key))


def _case(trial: Mapping[str, Any]) -> Case:
    rewards = as_mapping(as_mapping(trial.get("verifier_result")).get("rewards"))
    # NOTE: versions before 0.20 do not state whether a reward is valid.
    is_valid = trial.get("reward_valid", bool(rewards) and not trial.get("exception_info"))
    values = finite(rewards) if is_valid is True else {}
    return Case(id=str(trial["task_name"]), values=values, unmeasured=not values)


def _usage(trials: list[Mapping[str, Any]]) -> dict[str, float]:
    keys = {"prompt_tokens": "n_input_tokens", "completion_tokens": "n_output_tokens", "cost_usd": "cost_usd"}
    results = [as_mapping(trial.get("agent_result")) for trial in trials]
    values = {name: [finite({key: result.get(key)}).get(key) for result in results] for name, key in keys.items()}
    return {name: sum(v for v in column if v is not None) for name, column in values.items() if any(column)}
