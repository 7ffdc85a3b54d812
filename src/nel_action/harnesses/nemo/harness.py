"""The command of the nemo-evaluator contract: one run configuration, written beside it."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, assert_never

import yaml

from nel_action.errors import Problem
from nel_action.formats.parsing import ParsedResult
from nel_action.harnesses.common import PYTHON_ENV, lock
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.harnesses.nemo.results import read_results
from nel_action.model.task import EndpointType, HarnessTask, Params, Progress

__all__ = ["HARNESS", "Nemo"]

RUN_CONFIG: Final = "run_config.yml"
ENV: Final = {
    "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0",
    # NOTE: its own 30 seconds are longer than most backends wait between asking a job to end and ending it.
    "NEMO_EVALUATOR_SHUTDOWN_TIMEOUT_SECONDS": "5",
}
BAR: Final = re.compile(r"\s(\d+)/(\d+) \[")


class Nemo:
    """Runs a task of a container that keeps the nemo-evaluator contract, or of packages that do."""

    name: Final = "nemo"

    @property
    def requirements(self) -> Path:
        """Hashed requirements of nemo-evaluator alone; the harness package comes from the task's folder."""
        return lock("nemo")

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Say what contradicts the contract: a route that the task does not know, keys that are decided here."""
        problems = []
        config = task.config.get("config", {})
        known = config.get("supported_endpoint_types")
        if known and _endpoint_type(task.endpoint_type) not in known:
            message = f"task {task.display} does not support endpoint type {task.endpoint_type.value!r}"
            problems.append(Problem(message, hint=f"it supports {', '.join(map(str, known))}"))
        if "output_dir" in config:
            message = f"task {task.display}: nemo_evaluator_config.config.output_dir is decided by nel-action"
            problems.append(Problem(message, hint="remove it"))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Write the run configuration; what the spec's own `nemo_evaluator_config` says in it comes first."""
        config = _run_config(task, binding)
        env = dict(PYTHON_ENV) | ENV | {"PYTHONHASHSEED": str(task.params.seed)}
        if binding.task_dir is not None:
            # NOTE: the contract finds harnesses in the namespace package `core_evals`, which this folder then holds.
            env |= {"PYTHONPATH": str(binding.task_dir)}
        if binding.own_port is not None:
            # NOTE: the adapter looks for a free port from 3825 up, and two that look at once find the same one.
            env |= {"ADAPTER_PORT": str(binding.own_port)}
        key = config["target"]["api_endpoint"].get("api_key_name")
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=2**16)
        return Command(
            argv=("nemo-evaluator", "run_eval", "--run_config", str(binding.work_dir / RUN_CONFIG)),
            env=env,
            secret_env={key: key} if key and key == binding.api_key_name else {},
            files={RUN_CONFIG: text},
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:
        """Read the count of answered requests where the adapter keeps one, else the last bar in the log."""
        try:
            return Progress(int((artifacts / "progress").read_text()))
        except (OSError, ValueError):
            bars = BAR.findall(log_tail)
        return Progress(int(bars[-1][0]), int(bars[-1][1])) if bars else None

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read `results.yml`, the metrics file and, where there are any, records of single items.

        Raises:
            ResultsError: files are missing, truncated, of another run or task, or hold no finite score.
        """
        return read_results(task, artifacts)


def _run_config(task: HarnessTask, binding: Binding) -> dict[str, Any]:
    own: dict[str, Any] = copy.deepcopy(dict(task.config))
    config = {"type": task.name} | own.pop("config", {})
    params = config.get("params", {}) | _params(task.params)
    config |= {"output_dir": str(binding.output_dir), "params": params}
    target = own.pop("target", {})
    endpoint = {
        "url": binding.url,
        "model_id": binding.model_id,
        "type": _endpoint_type(task.endpoint_type),
        "api_key_name": binding.api_key_name,
    } | target.pop("api_endpoint", {})
    present = {name: value for name, value in endpoint.items() if value is not None}
    versioning = {"metadata": {"versioning": {"launched_by": "nel-action"}}}
    return versioning | own | {"config": config, "target": target | {"api_endpoint": present}}


def _params(params: Params) -> dict[str, Any]:
    """Return the contract's parameters. It has none for a seed; where a task has one, it stands in `extra`."""
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
    """Return the contract's word for a route."""
    match endpoint_type:
        case EndpointType.COMPLETIONS_LOGPROBS:
            return "completions_logprob"
        case EndpointType.CHAT | EndpointType.COMPLETIONS | EndpointType.EMBEDDING | EndpointType.VLM:
            return endpoint_type.value
        case _:
            assert_never(endpoint_type)


HARNESS: Final[Harness] = Nemo()
