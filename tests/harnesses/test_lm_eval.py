from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest
from tests.support.bindings import binding, harness_task

from nel_action.harnesses.interface import Command
from nel_action.harnesses.lm_eval import HARNESS
from nel_action.model.task import EndpointType, Progress


def options(command: Command) -> dict[str, Any]:
    """Return the values after `run` by option; JSON is parsed."""
    values: dict[str, Any] = {}
    argv = list(command.argv[command.argv.index("run") + 1 :])
    for index, argument in enumerate(argv):
        if argument.startswith("--"):
            value = argv[index + 1] if index + 1 < len(argv) and not argv[index + 1].startswith("--") else None
            values[argument] = json.loads(value) if value and value.startswith("{") else value
    return values


def test_command_sets_every_option_explicitly() -> None:
    task = harness_task("gsm8k", limit_samples=20, parallelism=7, request_timeout=30.5, max_retries=2, seed=3)
    command = HARNESS.command(task, binding())
    assert command.argv[:2] == ("lm-eval", "run")
    assert options(command) == {
        "--model": "local-chat-completions",
        "--model_args": {
            "model": "acme-7b",
            "base_url": "http://127.0.0.1:8000/v1/chat/completions",
            "num_concurrent": 7,
            "timeout": 31,
            "max_retries": 3,
            "seed": 3,
            "tokenizer_backend": None,
        },
        "--tasks": "gsm8k",
        "--output_path": "/results/results.json",
        "--log_samples": None,
        "--seed": "3",
        "--limit": "20",
        "--apply_chat_template": None,
    }


@pytest.mark.parametrize(
    ("endpoint_type", "extra", "model", "backend"),
    [
        (EndpointType.CHAT, {}, "local-chat-completions", None),
        (EndpointType.VLM, {}, "local-chat-completions", None),
        (EndpointType.COMPLETIONS, {}, "local-completions", None),
        (EndpointType.COMPLETIONS_LOGPROBS, {}, "local-completions", "remote"),
        (EndpointType.COMPLETIONS_LOGPROBS, {"tokenizer": "/models/acme"}, "local-completions", "huggingface"),
        (EndpointType.COMPLETIONS_LOGPROBS, {"tokenizer_backend": "tiktoken"}, "local-completions", "tiktoken"),
    ],
)
def test_endpoint_type_selects_the_model_class_and_tokenizer(
    endpoint_type: EndpointType, extra: dict[str, Any], model: str, backend: str | None
) -> None:
    values = options(HARNESS.command(harness_task(endpoint_type=endpoint_type, extra=extra), binding()))
    assert values["--model"] == model
    assert values["--model_args"]["tokenizer_backend"] == backend
    assert ("--apply_chat_template" in values) == (model == "local-chat-completions")


def test_command_passes_sampling_parameters_only_if_they_are_set() -> None:
    assert "--gen_kwargs" not in options(HARNESS.command(harness_task(), binding()))
    task = harness_task(temperature=0.0, top_p=0.9, max_new_tokens=64, extra={"gen_kwargs": {"top_k": 5}})
    expected = {"temperature": 0.0, "top_p": 0.9, "max_gen_toks": 64, "top_k": 5}
    assert options(HARNESS.command(task, binding()))["--gen_kwargs"] == expected


def test_command_passes_extra_parameters() -> None:
    extra = {
        "num_fewshot": 0,
        "system_instruction": "Be brief.",
        "apply_chat_template": False,
        "fewshot_as_multiturn": False,
        "metadata": {"length": 4096},
        "trust_remote_code": False,
        "confirm_run_unsafe_code": True,
        "max_length": 8192,
        "model_args": {"num_concurrent": 1},
    }
    values = options(HARNESS.command(harness_task(extra=extra), binding()))
    assert values["--num_fewshot"] == "0"
    assert values["--system_instruction"] == "Be brief."
    assert values["--fewshot_as_multiturn"] == "false"
    assert values["--metadata"] == {"length": 4096}
    assert "--confirm_run_unsafe_code" in values
    assert not values.keys() & {"--apply_chat_template", "--trust_remote_code"}
    assert values["--model_args"]["max_length"] == 8192
    assert values["--model_args"]["num_concurrent"] == 1


def test_command_passes_the_key_by_name_and_clears_the_variable_without_one() -> None:
    with_key = HARNESS.command(harness_task(), binding(api_key_name="MODEL_KEY"))
    assert with_key.secret_env == {"OPENAI_API_KEY": "MODEL_KEY"}
    assert "OPENAI_API_KEY" not in with_key.env
    without = HARNESS.command(harness_task(), binding())
    assert not without.secret_env
    assert without.env["OPENAI_API_KEY"] == ""


def test_command_runs_offline_in_the_task_folder() -> None:
    command = HARNESS.command(harness_task(), binding(task_dir=PurePosixPath("/tasks")))
    assert command.argv[:4] == ("python", "/work/lm_eval_local.py", "/tasks", "run")
    assert options(command)["--include_path"] == "/tasks"
    assert command.env["HF_HUB_OFFLINE"] == "1"
    assert "def __init__" in command.files["lm_eval_local.py"]
    online = HARNESS.command(harness_task(extra={"offline": False}), binding(task_dir=PurePosixPath("/tasks")))
    assert "HF_HUB_OFFLINE" not in online.env
    assert "HF_HUB_OFFLINE" not in HARNESS.command(harness_task(), binding()).env


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"endpoint_type": EndpointType.EMBEDDING}, "does not evaluate embedding endpoints"),
        ({"name": "gsm8k,ifeval"}, "'gsm8k,ifeval' is not the name of one lm-eval task"),
        ({"name": "mmlu_*"}, "not the name of one"),
        ({"name": "tasks/mine.yaml"}, "not the name of one"),
        ({"extra": {"num_fewshots": 5}}, "unknown parameter extra.num_fewshots\n  did you mean 'num_fewshot'?"),
    ],
)
def test_check_reports_unsupported_tasks(fields: dict[str, Any], message: str) -> None:
    (problem,) = HARNESS.check(harness_task(**fields))
    assert message in str(problem)


def test_check_accepts_a_valid_task() -> None:
    assert not HARNESS.check(harness_task("leaderboard_ifeval", extra={"num_fewshot": 5, "offline": True}))


@pytest.mark.parametrize(
    ("log", "progress"),
    [
        ("", None),
        ("Building contexts: 100%|####| 10/10 [00:00<00:00, 9.8it/s]", None),
        ("Requesting API:   0%|          | 0/20 [00:00<?, ?it/s]", Progress(0, 20)),
        (
            "Requesting API:  50%|██| 10/20 [00:00<00:00]\rRequesting API: 65%|██▌| 13/20 [00:01<00:00, 9it/s]",
            Progress(13, 20),
        ),
        ("Requesting API: 100%|██| 45/45 [00:00<00:00, 91.80it/s]\nINFO saving 3/4 [", Progress(45, 45)),
    ],
)
def test_progress_is_the_last_state_of_the_progress_bar(log: str, progress: Progress | None, tmp_path: Any) -> None:  # noqa: ANN401
    assert HARNESS.progress(tmp_path, log) == progress
