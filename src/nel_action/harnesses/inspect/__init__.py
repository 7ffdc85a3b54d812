"""inspect (`inspect eval`), 0.3.200 or later."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import Problem
from nel_action.formats import inspect_log
from nel_action.formats.parsing import DetectedResult, ParsedResult
from nel_action.harnesses.common import PYTHON_ENV, unknown_extra_problems
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.task import EndpointType, HarnessTask, Progress

__all__ = ["HARNESS", "Inspect"]

_OPTION_EXTRAS: Final = (
    "epochs", "epochs_reducer", "system_message", "top_k", "stop_seqs", "reasoning_effort", "reasoning_tokens",
    "extra_body", "message_limit", "token_limit", "time_limit", "working_limit", "max_samples", "max_subprocesses",
    "sandbox", "fail_on_error", "solver",
)  # fmt: skip
"""Parameters in `extra` that become options of `inspect eval`."""

_EXTRAS: Final = (*_OPTION_EXTRAS, "task_args", "model_args")

_SAMPLE_COUNT: Final = re.compile(r"Samples:\s*(\d+)/\s*(\d+)")


class Inspect(Harness):
    """Runs one inspect task against an OpenAI-compatible chat endpoint."""

    name: Final = "inspect"
    starts_over: Final = True
    requirements: Final = Path(__file__).with_name("requirements.txt")
    """inspect and the client of its OpenAI-compatible provider."""

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Report endpoint types other than chat, a proportion as limit, and unknown parameters."""
        problems = list(unknown_extra_problems(task, _EXTRAS))
        if task.endpoint_type not in {EndpointType.CHAT, EndpointType.VLM}:
            message = f"task {task.display}: inspect supports chat endpoints only, not {task.endpoint_type.value}"
            problems.append(Problem(message))
        limit = task.params.limit_samples
        if limit is not None and limit != int(limit):
            message = f"task {task.display}: inspect does not support a proportion as limit_samples: {limit}"
            problems.append(Problem(message, hint="write a number of samples"))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build `inspect eval …` with the OpenAI-compatible provider, which uses chat completions."""
        files = {"model_args.json": _json(_model_args(task))}
        argv = ["inspect", "eval", _task_reference(task, binding), "--model", f"openai-api/nel/{binding.model_id}"]
        argv += ["--model-config", str(binding.work_dir / "model_args.json")]
        if arguments := task.params.extra.get("task_args"):
            files["task_args.json"] = _json(arguments)
            argv += ["--task-config", str(binding.work_dir / "task_args.json")]
        key = binding.api_key_name
        env = dict(PYTHON_ENV) | {"NEL_BASE_URL": binding.url.removesuffix("/chat/completions")}
        return Command(
            argv=(*argv, *_options(task, binding)),
            # NOTE: inspect requires a key; without one, this placeholder is sent.
            env=env if key else env | {"NEL_API_KEY": "none"},
            secret_env={"NEL_API_KEY": key} if key else {},
            files=files,
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 part of the interface
        """Parse the last count of samples in the log."""
        counts = _SAMPLE_COUNT.findall(log_tail)
        return Progress(int(counts[-1][0]), int(counts[-1][1])) if counts else None

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read the log in JSON, or a detected log.

        Raises:
            ResultsError: it is missing, truncated, unfinished, of another run or task, or contains no finite score.
        """
        return inspect_log.read(artifacts, task)

    def detect(self, path: Path) -> Sequence[DetectedResult]:
        """Find logs in JSON and in inspect's zipped format.

        Raises:
            ResultsError: a file is truncated.
        """
        return inspect_log.detect(path)


def _task_reference(task: HarnessTask, binding: Binding) -> str:
    """Return the task as `inspect eval` expects it: `FILE.py@TASK` in the task folder, or the name in a package."""
    if binding.task_dir is None:
        return task.name
    name = task.name if ".py" in task.name else f"{task.name}.py@{task.name}"
    return str(binding.task_dir / name)


def _model_args(task: HarnessTask) -> dict[str, Any]:
    # NOTE: inspect retries; without this value its client would add two retries to each of them.
    defaults = {"responses_api": False, "stream": False, "max_retries": 0}
    return defaults | dict(task.params.extra.get("model_args", {}))


def _options(task: HarnessTask, binding: Binding) -> list[str]:
    params = task.params
    timeout = max(1, math.ceil(params.request_timeout))
    values: dict[str, Any] = {
        "log-dir": binding.output_dir,
        # NOTE: the default format is a zip archive with Zstandard, which Python 3.11 cannot read.
        "log-format": "json",
        "display": "plain",
        "ctl-server": "false",
        "max-connections": params.parallelism,
        "attempt-timeout": timeout,
        # NOTE: without these two inspect retries indefinitely.
        "timeout": timeout * (params.max_retries + 1),
        "max-retries": params.max_retries,
        "seed": params.seed,
        "limit": None if params.limit_samples is None else int(params.limit_samples),
        "temperature": params.temperature,
        "top-p": params.top_p,
        "max-tokens": params.max_new_tokens,
    }
    values |= {name.replace("_", "-"): params.extra.get(name) for name in _OPTION_EXTRAS}
    options = ["--no-log-realtime"]
    for name, value in values.items():
        if value is not None:
            options += [f"--{name}", _json(value) if isinstance(value, dict) else str(value)]
    return options


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


HARNESS: Final[Harness] = Inspect()
