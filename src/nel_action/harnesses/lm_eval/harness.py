"""The command line of lm-evaluation-harness, and how far it is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

from nel_action.errors import Problem
from nel_action.formats.lm_eval_results import read_results
from nel_action.formats.parsing import ParsedResult
from nel_action.harnesses.common import PYTHON_ENV, lock, unknown_extras
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.task import EndpointType, HarnessTask, Params, Progress

__all__ = ["HARNESS", "LmEval"]

LAUNCHER: Final = "lm_eval_local.py"
"""Name of the launcher that runs tasks of the user's own folder; its text stands beside this file."""

MODEL_EXTRAS: Final = (
    "tokenizer", "tokenizer_backend", "tokenized_requests", "max_length", "add_bos_token", "eos_string",
    "custom_prefix_token_id", "think_end_token", "verify_certificate", "ca_cert_path",
)  # fmt: skip
"""Parameters in `extra` that are lm-eval's `--model_args`."""

OPTION_EXTRAS: Final = (
    "num_fewshot", "batch_size", "system_instruction", "apply_chat_template", "fewshot_as_multiturn", "metadata",
    "trust_remote_code", "confirm_run_unsafe_code",
)  # fmt: skip
"""Parameters in `extra` that are options of `lm-eval run`."""

EXTRAS: Final = (*MODEL_EXTRAS, *OPTION_EXTRAS, "model_args", "gen_kwargs", "offline")

BAR: Final = re.compile(r"Requesting API:[^\r\n]*?(\d+)/(\d+) \[")


class LmEval:
    """Runs one task or group of lm-eval against an OpenAI-compatible endpoint."""

    name: Final = "lm_eval"

    @property
    def requirements(self) -> Path:
        """Hashed requirements of lm-eval with its API models, without torch."""
        return lock("lm_eval")

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Say what lm-eval cannot do of this task: routes, several tasks in one, parameters it does not know."""
        problems = list(unknown_extras(task, EXTRAS))
        if task.endpoint_type is EndpointType.EMBEDDING:
            problems.append(Problem(f"task {task.display}: lm_eval does not evaluate embedding endpoints"))
        if re.search(r"[,*?\[\]\s/]|\.yaml$", task.name):
            hint = "name one task or group as `lm-eval ls tasks` does; several tasks are several entries"
            problems.append(
                Problem(f"task {task.display}: {task.name!r} is not the name of one lm-eval task", hint=hint)
            )
        if task.config.get("target", {}).get("api_endpoint", {}).get("adapter_config"):
            hint = "run the task with harness nemo, or leave adapter_config out"
            problems.append(Problem(f"task {task.display}: lm_eval has no adapter for adapter_config", hint=hint))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build `lm-eval run …`; with a task folder, through a launcher that works in that folder."""
        files = {}
        words = ["lm-eval"]
        if binding.task_dir is not None:
            words = ["python", str(binding.work_dir / LAUNCHER), str(binding.task_dir)]
            files[LAUNCHER] = Path(__file__).with_name(LAUNCHER).read_text(encoding="utf-8")
        env = dict(PYTHON_ENV) | {"LMEVAL_LOG_LEVEL": "INFO", "TOKENIZERS_PARALLELISM": "false", "DO_NOT_TRACK": "1"}
        if task.params.extra.get("offline", binding.task_dir is not None):
            env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        key = binding.api_key_name
        # NOTE: without a key the variable is emptied, so that a key of the caller's own never goes to the target.
        return Command(
            argv=(*words, "run", *_options(task, binding)),
            env=env if key else env | {"OPENAI_API_KEY": ""},
            secret_env={"OPENAI_API_KEY": key} if key else {},
            files=files,
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 the protocol's signature
        """Read the last state of lm-eval's bar of requests."""
        bars = BAR.findall(log_tail)
        return Progress(int(bars[-1][0]), int(bars[-1][1])) if bars else None

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read `results_*.json` and the samples beside it.

        Raises:
            ResultsError: files are missing, truncated, of another run or task, or hold no finite score.
        """
        return read_results(task, artifacts)


def _options(task: HarnessTask, binding: Binding) -> list[str]:
    params = task.params
    words = ["--model", _model(task.endpoint_type)]
    words += ["--model_args", _json(_model_args(task, binding))]
    words += ["--tasks", task.name]
    words += ["--output_path", str(binding.output_dir / "results.json"), "--log_samples"]
    words += ["--seed", str(params.seed)]
    if params.limit_samples is not None:
        words += ["--limit", str(params.limit_samples)]
    if generation := _gen_kwargs(params):
        words += ["--gen_kwargs", _json(generation)]
    if binding.task_dir is not None:
        words += ["--include_path", str(binding.task_dir)]
    return words + _extra_options(task)


def _extra_options(task: HarnessTask) -> list[str]:
    words = []
    chat = task.endpoint_type in {EndpointType.CHAT, EndpointType.VLM}
    extra: Mapping[str, Any] = {"apply_chat_template": chat} | dict(task.params.extra)
    for option in OPTION_EXTRAS:
        match extra.get(option):
            case None | False if option != "fewshot_as_multiturn":
                continue
            case None:
                continue
            case bool() as flag if option == "fewshot_as_multiturn":
                words += [f"--{option}", str(flag).lower()]
            case True:
                words.append(f"--{option}")
            case dict() as value:
                words += [f"--{option}", _json(value)]
            case value:
                words += [f"--{option}", str(value)]
    return words


def _model(endpoint_type: EndpointType) -> str:
    match endpoint_type:
        case EndpointType.CHAT | EndpointType.VLM:
            return "local-chat-completions"
        case EndpointType.COMPLETIONS | EndpointType.COMPLETIONS_LOGPROBS | EndpointType.EMBEDDING:
            return "local-completions"
        case _:
            assert_never(endpoint_type)


def _model_args(task: HarnessTask, binding: Binding) -> dict[str, Any]:
    params, extra = task.params, task.params.extra
    # NOTE: log-likelihoods need tokens: the server's own (vLLM's /tokenize) unless the spec names a tokenizer. Text
    # alone needs none, and lm-eval would load the model's from a hub.
    remote = task.endpoint_type is EndpointType.COMPLETIONS_LOGPROBS and "tokenizer" not in extra
    backend = "huggingface" if "tokenizer" in extra else ("remote" if remote else None)
    always = {
        "model": binding.model_id,
        "base_url": binding.url,
        "num_concurrent": params.parallelism,
        "timeout": max(1, math.ceil(params.request_timeout)),
        # NOTE: lm-eval counts the first try as well.
        "max_retries": params.max_retries + 1,
        "seed": params.seed,
        "tokenizer_backend": backend,
    }
    chosen = {name: extra[name] for name in MODEL_EXTRAS if name in extra}
    return always | chosen | dict(extra.get("model_args", {}))


def _gen_kwargs(params: Params) -> dict[str, Any]:
    own = {"temperature": params.temperature, "top_p": params.top_p, "max_gen_toks": params.max_new_tokens}
    return {name: value for name, value in own.items() if value is not None} | dict(params.extra.get("gen_kwargs", {}))


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


HARNESS: Final[Harness] = LmEval()
