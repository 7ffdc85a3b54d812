"""The nemo-evaluator container contract (`nemo-evaluator run_eval`), configured by one YAML file."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, assert_never

import yaml

from nel_action.errors import Problem
from nel_action.formats import nemo_results
from nel_action.formats.parsing import DetectedResult, ParsedResult
from nel_action.harnesses.common import PYTHON_ENV, last_progress
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.task import EndpointType, HarnessTask, Params, Progress

__all__ = ["HARNESS", "Nemo"]

_RUN_CONFIG: Final = "run_config.yml"
_ENV: Final = {
    "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0",
    # NOTE: its default of 30 seconds exceeds the time that most backends allow between SIGTERM and SIGKILL.
    "NEMO_EVALUATOR_SHUTDOWN_TIMEOUT_SECONDS": "5",
}
_PROGRESS_BAR: Final = re.compile(r"\s(\d+)/(\d+) \[")


class Nemo(Harness):
    """Runs a task of a container, or of packages, that implement the nemo-evaluator contract."""

    name: Final = "nemo"
    requirements: Final = Path(__file__).with_name("requirements.txt")
    """nemo-evaluator alone; the benchmark's package comes from the task's folder."""

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Report an endpoint type that the task does not support, and keys that nel-action sets itself."""
        problems = []
        config = task.config.get("config", {})
        known = config.get("supported_endpoint_types")
        if known and _endpoint_type(task.endpoint_type) not in known:
            message = f"task {task.display} does not support endpoint type {task.endpoint_type.value!r}"
            problems.append(Problem(message, hint=f"it supports {', '.join(map(str, known))}"))
        if "output_dir" in config:
            message = f"task {task.display}: nemo_evaluator_config.config.output_dir is set by nel-action"
            problems.append(Problem(message, hint="remove it"))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build the run configuration; `nemo_evaluator_config` of the spec takes precedence."""
        config = _run_config(task, binding)
        env = dict(PYTHON_ENV) | _ENV | {"PYTHONHASHSEED": str(task.params.seed)}
        if binding.task_dir is not None:
            # NOTE: the contract looks for harnesses in the namespace package `core_evals`, which this folder contains.
            env |= {"PYTHONPATH": str(binding.task_dir)}
        if binding.own_port is not None:
            # NOTE: the adapter searches for a free port from 3825 up; two concurrent searches return the same port.
            env |= {"ADAPTER_PORT": str(binding.own_port)}
        key = config["target"]["api_endpoint"].get("api_key_name")
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=2**16)
        return Command(
            argv=("nemo-evaluator", "run_eval", "--run_config", str(binding.work_dir / _RUN_CONFIG)),
            env=env,
            secret_env={key: key} if key and key == binding.api_key_name else {},
            files={_RUN_CONFIG: text},
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:
        """Read the adapter's count of answered requests if it exists, else the last progress bar in the log."""
        try:
            return Progress(int((artifacts / "progress").read_text()))
        except (OSError, ValueError):
            return last_progress(_PROGRESS_BAR, log_tail)

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read `results.yml`, the metrics file and, if present, per-sample records.

        Raises:
            ResultsError: files are missing, truncated, of another run or task, or contain no finite score.
        """
        return nemo_results.read(artifacts, task)

    def detect(self, path: Path) -> Sequence[DetectedResult]:
        """Find `results.yml`.

        Raises:
            ResultsError: a file of that name is not valid YAML.
        """
        return nemo_results.detect(path)


def _run_config(task: HarnessTask, binding: Binding) -> dict[str, Any]:
    overrides: dict[str, Any] = copy.deepcopy(dict(task.config))
    config = {"type": task.name} | overrides.pop("config", {})
    params = config.get("params", {}) | _params(task.params)
    config |= {"output_dir": str(binding.output_dir), "params": params}
    target = overrides.pop("target", {})
    endpoint = {
        "url": binding.url,
        "model_id": binding.model_id,
        "type": _endpoint_type(task.endpoint_type),
        "api_key_name": binding.api_key_name,
    } | target.pop("api_endpoint", {})
    present = {name: value for name, value in endpoint.items() if value is not None}
    versioning = {"metadata": {"versioning": {"launched_by": "nel-action"}}}
    return versioning | overrides | {"config": config, "target": target | {"api_endpoint": present}}


def _params(params: Params) -> dict[str, Any]:
    """Return the contract's parameters; it has none for a seed, which some tasks accept in `extra`."""
    limit = params.limit_samples
    values = {
        "limit_samples": int(limit) if limit is not None and limit >= 1 else limit,
        "parallelism": params.parallelism,
        "request_timeout": max(1, math.ceil(params.request_timeout)),
        "max_retries": params.max_retries,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "max_new_tokens": params.max_new_tokens,
        "extra": copy.deepcopy(dict(params.extra)),
    }
    return {name: value for name, value in values.items() if value is not None}


def _endpoint_type(endpoint_type: EndpointType) -> str:
    """Return the contract's name of an endpoint type."""
    match endpoint_type:
        case EndpointType.COMPLETIONS_LOGPROBS:
            return "completions_logprob"
        case EndpointType.CHAT | EndpointType.COMPLETIONS | EndpointType.EMBEDDING | EndpointType.VLM:
            return endpoint_type.value
        case _:
            assert_never(endpoint_type)


HARNESS: Final[Harness] = Nemo()
