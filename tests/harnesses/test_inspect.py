from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from tests.support.bindings import binding, harness_task

from nel_action.harnesses.inspect import HARNESS
from nel_action.harnesses.interface import Command
from nel_action.model.task import EndpointType, Progress


def options(command: Command) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for index, argument in enumerate(command.argv):
        if argument.startswith("--"):
            value = command.argv[index + 1] if index + 1 < len(command.argv) else "--"
            values[argument] = None if value.startswith("--") else value
    return values


def test_command_sets_every_option_explicitly() -> None:
    task = harness_task(
        "inspect_evals/gsm8k", limit_samples=20, parallelism=7, request_timeout=30.5, max_retries=2, seed=3,
        temperature=0.0, top_p=0.9, max_new_tokens=64,
    )  # fmt: skip
    command = HARNESS.command(task, binding())
    assert command.argv[:3] == ("inspect", "eval", "inspect_evals/gsm8k")
    assert options(command) == {
        "--model": "openai-api/nel/acme-7b",
        "--model-config": "/work/model_args.json",
        "--no-log-realtime": None,
        "--log-dir": "/results",
        "--log-format": "json",
        "--display": "plain",
        "--ctl-server": "false",
        "--max-connections": "7",
        "--attempt-timeout": "31",
        "--timeout": "93",
        "--max-retries": "2",
        "--seed": "3",
        "--limit": "20",
        "--temperature": "0.0",
        "--top-p": "0.9",
        "--max-tokens": "64",
    }
    assert json.loads(command.files["model_args.json"]) == {"responses_api": False, "stream": False, "max_retries": 0}


def test_command_passes_the_base_url_and_the_key_to_the_provider() -> None:
    command = HARNESS.command(harness_task(), binding(api_key_name="MODEL_KEY"))
    assert command.env["NEL_BASE_URL"] == "http://127.0.0.1:8000/v1"
    assert command.secret_env == {"NEL_API_KEY": "MODEL_KEY"}
    assert "NEL_API_KEY" not in command.env
    assert HARNESS.command(harness_task(), binding()).env["NEL_API_KEY"] == "none"


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sums", "/tasks/sums.py@sums"),
        ("sums.py", "/tasks/sums.py"),
        ("maths/sums.py@sums_add", "/tasks/maths/sums.py@sums_add"),
    ],
)
def test_command_refers_to_a_task_of_a_folder_by_file_and_name(name: str, reference: str) -> None:
    command = HARNESS.command(harness_task(name), binding(task_dir=PurePosixPath("/tasks")))
    assert command.argv[2] == reference


def test_command_passes_extra_parameters() -> None:
    extra: dict[str, Any] = {
        "epochs": 3,
        "fail_on_error": 0.1,
        "extra_body": {"top_k": 5},
        "task_args": {"word": "1,2"},
        "model_args": {"stream": True},
    }
    command = HARNESS.command(harness_task(extra=extra), binding())
    values = options(command)
    assert (values["--epochs"], values["--fail-on-error"], values["--extra-body"]) == ("3", "0.1", '{"top_k": 5}')
    assert values["--task-config"] == "/work/task_args.json"
    assert json.loads(command.files["task_args.json"]) == {"word": "1,2"}
    assert json.loads(command.files["model_args.json"])["stream"] is True


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"endpoint_type": EndpointType.COMPLETIONS}, "supports chat endpoints only, not completions"),
        ({"limit_samples": 0.5}, "does not support a proportion as limit_samples"),
        ({"extra": {"epoch": 5}}, "unknown parameter extra.epoch\n  did you mean 'epochs'?"),
    ],
)
def test_check_reports_unsupported_tasks(fields: dict[str, Any], message: str) -> None:
    (problem,) = HARNESS.check(harness_task(**fields))
    assert message in str(problem)


def test_check_accepts_a_valid_task() -> None:
    assert not HARNESS.check(harness_task("sums.py@sums", limit_samples=5, endpoint_type=EndpointType.VLM))


def test_progress_is_the_last_sample_count_in_the_log(tmp_path: Path) -> None:
    log = "generate | Steps: 3/12 | Samples:   3/ 12 | accuracy: n/a\ngenerate | Steps: 12/12 | Samples:  12/ 12 | 0.8"
    assert HARNESS.progress(tmp_path, log) == Progress(12, 12)
    assert HARNESS.progress(tmp_path, "Running 1 tasks...") is None
