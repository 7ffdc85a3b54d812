"""lm-evaluation-harness (`lm-eval`), 0.4.10 or later."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

from nel_action.errors import Problem
from nel_action.formats import lm_eval
from nel_action.formats.parsing import DetectedResult, ParsedResult
from nel_action.harnesses.common import PYTHON_ENV, last_progress, unknown_extra_problems
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.task import EndpointType, HarnessTask, Params, Progress

__all__ = ["HARNESS", "LmEval"]

_LAUNCHER: Final = "lm_eval_local.py"
"""Script that runs tasks of a user's folder; a file of this package."""

_MODEL_EXTRAS: Final = (
    "tokenizer", "tokenizer_backend", "tokenized_requests", "max_length", "add_bos_token", "eos_string",
    "custom_prefix_token_id", "think_end_token", "verify_certificate", "ca_cert_path",
)  # fmt: skip
"""Parameters in `extra` that become part of `--model_args`."""

_OPTION_EXTRAS: Final = (
    "num_fewshot", "batch_size", "system_instruction", "apply_chat_template", "fewshot_as_multiturn", "metadata",
    "trust_remote_code", "confirm_run_unsafe_code",
)  # fmt: skip
"""Parameters in `extra` that become options of `lm-eval run`."""

_EXTRAS: Final = (*_MODEL_EXTRAS, *_OPTION_EXTRAS, "model_args", "gen_kwargs", "offline")

_PROGRESS_BAR: Final = re.compile(r"Requesting API:[^\r\n]*?(\d+)/(\d+) \[")


class LmEval(Harness):
    """Runs one task or group of lm-eval against an OpenAI-compatible endpoint."""

    name: Final = "lm_eval"
    starts_over: Final = True
    counts_requests: Final = True
    requirements: Final = Path(__file__).with_name("requirements.txt")
    """lm-eval with its API models, without torch."""

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Report unsupported endpoint types, names of more than one task, and unknown parameters."""
        problems = list(unknown_extra_problems(task, _EXTRAS))
        if task.endpoint_type is EndpointType.EMBEDDING:
            problems.append(Problem(f"task {task.display}: lm_eval does not evaluate embedding endpoints"))
        if re.search(r"[,*?\[\]\s/]|\.yaml$", task.name):
            message = f"task {task.display}: {task.name!r} is not the name of one lm-eval task"
            hint = "name one task or group as listed by `lm-eval ls tasks`; write several tasks as several entries"
            problems.append(Problem(message, hint=hint))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build `lm-eval run …`; with a task folder, through a script that changes to that folder."""
        files = {}
        program = ["lm-eval"]
        if binding.task_dir is not None:
            program = ["python", str(binding.work_dir / _LAUNCHER), str(binding.task_dir)]
            files[_LAUNCHER] = Path(__file__).with_name(_LAUNCHER).read_text(encoding="utf-8")
        env = dict(PYTHON_ENV) | {"LMEVAL_LOG_LEVEL": "INFO", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}
        if task.params.extra.get("offline", binding.task_dir is not None):
            env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        key = binding.api_key_name
        # NOTE: without a key the variable is set to empty, so that the caller's own key is never sent to the target.
        return Command(
            argv=(*program, "run", *_options(task, binding)),
            env=env if key else env | {"OPENAI_API_KEY": ""},
            secret_env={"OPENAI_API_KEY": key} if key else {},
            files=files,
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 part of the interface
        """Parse lm-eval's progress bar of requests."""
        return last_progress(_PROGRESS_BAR, log_tail)

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read `results_*.json` and the samples files next to it.

        Raises:
            ResultsError: files are missing, truncated, of another run or task, or contain no finite score.
        """
        return lm_eval.read(artifacts, task)

    def detect(self, path: Path) -> Sequence[DetectedResult]:
        """Find `results_*.json`.

        Raises:
            ResultsError: a file of that name is not valid JSON.
        """
        return lm_eval.detect(path)


def _options(task: HarnessTask, binding: Binding) -> list[str]:
    params = task.params
    options = ["--model", _model_type(task.endpoint_type)]
    options += ["--model_args", _json(_model_args(task, binding))]
    options += ["--tasks", task.name]
    options += ["--output_path", str(binding.output_dir / "results.json"), "--log_samples"]
    options += ["--seed", str(params.seed)]
    if params.limit_samples is not None:
        options += ["--limit", str(params.limit_samples)]
    if generation := _gen_kwargs(params):
        options += ["--gen_kwargs", _json(generation)]
    if binding.task_dir is not None:
        options += ["--include_path", str(binding.task_dir)]
    return options + _extra_options(task)


def _extra_options(task: HarnessTask) -> list[str]:
    options = []
    chat = task.endpoint_type in {EndpointType.CHAT, EndpointType.VLM}
    extra: Mapping[str, Any] = {"apply_chat_template": chat} | dict(task.params.extra)
    for option in _OPTION_EXTRAS:
        match extra.get(option):
            case None | False if option != "fewshot_as_multiturn":
                continue
            case None:
                continue
            case bool() as flag if option == "fewshot_as_multiturn":
                options += [f"--{option}", str(flag).lower()]
            case True:
                options.append(f"--{option}")
            case dict() as value:
                options += [f"--{option}", _json(value)]
            case value:
                options += [f"--{option}", str(value)]
    return options


def _model_type(endpoint_type: EndpointType) -> str:
    match endpoint_type:
        case EndpointType.CHAT | EndpointType.VLM:
            return "local-chat-completions"
        case EndpointType.COMPLETIONS | EndpointType.COMPLETIONS_LOGPROBS | EndpointType.EMBEDDING:
            return "local-completions"
        case _:
            assert_never(endpoint_type)


def _model_args(task: HarnessTask, binding: Binding) -> dict[str, Any]:
    params, extra = task.params, task.params.extra
    # NOTE: log-likelihoods need tokens: those of the server (vLLM's /tokenize) unless the spec names a tokenizer. Text
    # needs none; without this value lm-eval would download the model's tokenizer.
    remote = task.endpoint_type is EndpointType.COMPLETIONS_LOGPROBS and "tokenizer" not in extra
    backend = "huggingface" if "tokenizer" in extra else ("remote" if remote else None)
    defaults = {
        "model": binding.model_id,
        "base_url": binding.url,
        "num_concurrent": params.parallelism,
        "timeout": max(1, math.ceil(params.request_timeout)),
        # NOTE: lm-eval includes the first try.
        "max_retries": params.max_retries + 1,
        "seed": params.seed,
        "tokenizer_backend": backend,
    }
    selected = {name: extra[name] for name in _MODEL_EXTRAS if name in extra}
    return defaults | selected | dict(extra.get("model_args", {}))


def _gen_kwargs(params: Params) -> dict[str, Any]:
    values = {"temperature": params.temperature, "top_p": params.top_p, "max_gen_toks": params.max_new_tokens}
    return {name: value for name, value in values.items() if value is not None} | dict(
        params.extra.get("gen_kwargs", {})
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


HARNESS: Final[Harness] = LmEval()
