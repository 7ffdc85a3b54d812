"""The command line of inspect, and how far it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import Problem
from nel_action.formats.parsing import ParsedResult
from nel_action.harnesses.common import PYTHON_ENV, lock, unknown_extras
from nel_action.harnesses.inspect.results import read_log
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.task import EndpointType, HarnessTask, Progress

__all__ = ["HARNESS", "Inspect"]

OPTION_EXTRAS: Final = (
    "epochs", "epochs_reducer", "system_message", "top_k", "stop_seqs", "reasoning_effort", "reasoning_tokens",
    "extra_body", "message_limit", "token_limit", "time_limit", "working_limit", "max_samples", "max_subprocesses",
    "sandbox", "fail_on_error", "solver",
)  # fmt: skip
"""Parameters in `extra` that are options of `inspect eval`."""

EXTRAS: Final = (*OPTION_EXTRAS, "task_args", "model_args")

COUNT: Final = re.compile(r"Samples:\s*(\d+)/\s*(\d+)")


class Inspect:
    """Runs one inspect task against an OpenAI-compatible chat endpoint."""

    name: Final = "inspect"

    @property
    def requirements(self) -> Path:
        """Hashed requirements of inspect and the client of its OpenAI-compatible provider."""
        return lock("inspect")

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Say what inspect cannot do of this task: other routes than chat, a share as limit, unknown parameters."""
        problems = list(unknown_extras(task, EXTRAS))
        if task.endpoint_type not in {EndpointType.CHAT, EndpointType.VLM}:
            message = f"task {task.display}: inspect speaks to chat endpoints, not to {task.endpoint_type.value}"
            problems.append(Problem(message))
        limit = task.params.limit_samples
        if limit is not None and limit != int(limit):
            hint = "write a count"
            problems.append(Problem(f"task {task.display}: inspect cannot take a share of the samples", hint=hint))
        if task.config.get("target", {}).get("api_endpoint", {}).get("adapter_config"):
            hint = "run the task with harness nemo, or leave adapter_config out"
            problems.append(Problem(f"task {task.display}: inspect has no adapter for adapter_config", hint=hint))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build `inspect eval …` with the OpenAI-compatible provider, which speaks chat completions."""
        files = {"model_args.json": _json(_model_args(task))}
        words = ["inspect", "eval", _where(task, binding), "--model", f"openai-api/nel/{binding.model_id}"]
        words += ["--model-config", str(binding.work_dir / "model_args.json")]
        if arguments := task.params.extra.get("task_args"):
            files["task_args.json"] = _json(arguments)
            words += ["--task-config", str(binding.work_dir / "task_args.json")]
        key = binding.api_key_name
        env = dict(PYTHON_ENV) | {"NEL_BASE_URL": binding.url.removesuffix("/chat/completions")}
        return Command(
            argv=(*words, *_options(task, binding)),
            # NOTE: inspect insists on a key; where there is none, this word is sent in its place.
            env=env if key else env | {"NEL_API_KEY": "none"},
            secret_env={"NEL_API_KEY": key} if key else {},
            files=files,
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 the protocol's signature
        """Read the last count of samples that inspect printed."""
        counts = COUNT.findall(log_tail)
        return Progress(int(counts[-1][0]), int(counts[-1][1])) if counts else None

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read the one log, in JSON.

        Raises:
            ResultsError: it is missing, truncated, unfinished, of another run or task, or holds no finite score.
        """
        return read_log(task, artifacts)


def _where(task: HarnessTask, binding: Binding) -> str:
    """Return what inspect calls the task: `FILE.py@TASK` in the task's folder, or an installed package's name."""
    if binding.task_dir is None:
        return task.name
    name = task.name if ".py" in task.name else f"{task.name}.py@{task.name}"
    return str(binding.task_dir / name)


def _model_args(task: HarnessTask) -> dict[str, Any]:
    # NOTE: retries are inspect's own alone; the client inside would add two to each of them.
    always = {"responses_api": False, "stream": False, "max_retries": 0}
    return always | dict(task.params.extra.get("model_args", {}))


def _options(task: HarnessTask, binding: Binding) -> list[str]:
    params = task.params
    attempt = max(1, math.ceil(params.request_timeout))
    values: dict[str, Any] = {
        "log-dir": binding.output_dir,
        # NOTE: the default format holds zstandard in a zip, which Python 3.11 cannot read.
        "log-format": "json",
        "display": "plain",
        "ctl-server": "false",
        "max-connections": params.parallelism,
        "attempt-timeout": attempt,
        # NOTE: without these two inspect asks again for ever.
        "timeout": attempt * (params.max_retries + 1),
        "max-retries": params.max_retries,
        "seed": params.seed,
        "limit": None if params.limit_samples is None else int(params.limit_samples),
        "temperature": params.temperature,
        "top-p": params.top_p,
        "max-tokens": params.max_new_tokens,
    }
    values |= {name.replace("_", "-"): params.extra.get(name) for name in OPTION_EXTRAS}
    words = ["--no-log-realtime"]
    for name, value in values.items():
        if value is not None:
            words += [f"--{name}", _json(value) if isinstance(value, dict) else str(value)]
    return words


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


HARNESS: Final[Harness] = Inspect()
