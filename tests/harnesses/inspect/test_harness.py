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
    found: dict[str, str | None] = {}
    for index, word in enumerate(command.argv):
        if word.startswith("--"):
            after = command.argv[index + 1] if index + 1 < len(command.argv) else "--"
            found[word] = None if after.startswith("--") else after
    return found


def test_nothing_is_left_to_inspect_s_own_defaults() -> None:
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


def test_the_base_of_the_route_and_the_key_reach_the_provider() -> None:
    command = HARNESS.command(harness_task(), binding(api_key_name="MODEL_KEY"))
    assert command.env["NEL_BASE_URL"] == "http://127.0.0.1:8000/v1"
    assert command.secret_env == {"NEL_API_KEY": "MODEL_KEY"}
    assert "NEL_API_KEY" not in command.env
    assert HARNESS.command(harness_task(), binding()).env["NEL_API_KEY"] == "none"


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("sums", "/tasks/sums.py@sums"),
        ("sums.py", "/tasks/sums.py"),
        ("maths/sums.py@sums_add", "/tasks/maths/sums.py@sums_add"),
    ],
)
def test_a_task_of_the_folder_is_a_file_and_a_name_in_it(name: str, where: str) -> None:
    command = HARNESS.command(harness_task(name), binding(task_dir=PurePosixPath("/tasks")))
    assert command.argv[2] == where


def test_what_inspect_alone_knows_comes_from_extra() -> None:
    extra: dict[str, Any] = {
        "epochs": 3,
        "fail_on_error": 0.1,
        "extra_body": {"top_k": 5},
        "task_args": {"word": "1,2"},
        "model_args": {"stream": True},
    }
    command = HARNESS.command(harness_task(extra=extra), binding())
    found = options(command)
    assert (found["--epochs"], found["--fail-on-error"], found["--extra-body"]) == ("3", "0.1", '{"top_k": 5}')
    assert found["--task-config"] == "/work/task_args.json"
    assert json.loads(command.files["task_args.json"]) == {"word": "1,2"}
    assert json.loads(command.files["model_args.json"])["stream"] is True


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"endpoint_type": EndpointType.COMPLETIONS}, "speaks to chat endpoints, not to completions"),
        ({"limit_samples": 0.5}, "cannot take a share"),
        ({"extra": {"epoch": 5}}, "unknown parameter extra.epoch\n  did you mean 'epochs'?"),
        ({"config": {"target": {"api_endpoint": {"adapter_config": {"use_caching": True}}}}}, "no adapter"),
    ],
)
def test_what_inspect_cannot_do_is_told_before_anything_runs(fields: dict[str, Any], message: str) -> None:
    (problem,) = HARNESS.check(harness_task(**fields))
    assert message in str(problem)


def test_nothing_to_say_of_a_good_task() -> None:
    assert not HARNESS.check(harness_task("sums.py@sums", limit_samples=5, endpoint_type=EndpointType.VLM))


def test_progress_is_the_last_count_of_samples(tmp_path: Path) -> None:
    log = "generate | Steps: 3/12 | Samples:   3/ 12 | accuracy: n/a\ngenerate | Steps: 12/12 | Samples:  12/ 12 | 0.8"
    assert HARNESS.progress(tmp_path, log) == Progress(12, 12)
    assert HARNESS.progress(tmp_path, "Running 1 tasks...") is None
