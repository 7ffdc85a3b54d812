from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from tests.support.bindings import binding, harness_task

from nel_action.harnesses.interface import Command
from nel_action.harnesses.nemo import HARNESS
from nel_action.model.task import EndpointType, Progress


def run_config(command: Command) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(command.files["run_config.yml"])
    return loaded


def test_command_writes_a_complete_run_configuration() -> None:
    task = harness_task(
        "gsm8k", limit_samples=20, parallelism=7, request_timeout=30.5, max_retries=2, temperature=0.0,
        top_p=0.9, max_new_tokens=64, extra={"num_fewshot": 5},
    )  # fmt: skip
    command = HARNESS.command(task, binding(api_key_name="MODEL_KEY"))
    assert command.argv == ("nemo-evaluator", "run_eval", "--run_config", "/work/run_config.yml")
    assert run_config(command) == {
        "metadata": {"versioning": {"launched_by": "nel-action"}},
        "config": {
            "type": "gsm8k",
            "output_dir": "/results",
            "params": {
                "limit_samples": 20,
                "parallelism": 7,
                "request_timeout": 31,
                "max_retries": 2,
                "temperature": 0.0,
                "top_p": 0.9,
                "max_new_tokens": 64,
                "extra": {"num_fewshot": 5},
            },
        },
        "target": {
            "api_endpoint": {
                "url": "http://127.0.0.1:8000/v1/chat/completions",
                "model_id": "acme-7b",
                "type": "chat",
                "api_key_name": "MODEL_KEY",
            }
        },
    }


def test_command_disables_telemetry_and_passes_the_key_by_name() -> None:
    command = HARNESS.command(harness_task(), binding(api_key_name="MODEL_KEY"))
    assert command.env["NEMO_EVALUATOR_TELEMETRY_LEVEL"] == "0"
    assert command.secret_env == {"MODEL_KEY": "MODEL_KEY"}
    without = HARNESS.command(harness_task(), binding())
    assert not without.secret_env
    assert "api_key_name" not in run_config(without)["target"]["api_endpoint"]


def test_command_sets_the_adapter_port_if_the_network_is_shared() -> None:
    assert "ADAPTER_PORT" not in HARNESS.command(harness_task("gsm8k"), binding()).env
    shared = replace(binding(), own_port=40123)
    assert HARNESS.command(harness_task("gsm8k"), shared).env["ADAPTER_PORT"] == "40123"


def test_nemo_evaluator_config_takes_precedence_and_is_passed_completely() -> None:
    adapter = {"use_caching": False, "params_to_add": {"top_k": 1}, "interceptors": ["endpoint"]}
    overrides: dict[str, Any] = {
        "config": {"type": "ns_gsm8k", "params": {"task": "gsm8k_cot"}, "required_capabilities": ["tools"]},
        "target": {"api_endpoint": {"stream": False, "adapter_config": adapter, "model_id": "acme-lora"}},
    }
    config = run_config(HARNESS.command(harness_task("gsm8k", config=overrides), binding()))
    assert config["config"]["type"] == "ns_gsm8k"
    assert config["config"]["params"]["task"] == "gsm8k_cot"
    assert config["config"]["params"]["parallelism"] == 4
    assert config["config"]["required_capabilities"] == ["tools"]
    assert config["target"]["api_endpoint"]["adapter_config"] == adapter
    assert config["target"]["api_endpoint"]["model_id"] == "acme-lora"
    assert config["target"]["api_endpoint"]["url"] == "http://127.0.0.1:8000/v1/chat/completions"
    assert overrides["config"]["params"] == {"task": "gsm8k_cot"}


def test_a_renamed_key_variable_is_not_bound_to_the_key_of_the_target() -> None:
    overrides = {"target": {"api_endpoint": {"api_key_name": "OTHER_KEY"}}}
    command = HARNESS.command(harness_task(config=overrides), binding(api_key_name="MODEL_KEY"))
    assert run_config(command)["target"]["api_endpoint"]["api_key_name"] == "OTHER_KEY"
    assert not command.secret_env


@pytest.mark.parametrize(
    ("endpoint_type", "name"),
    [
        (EndpointType.CHAT, "chat"),
        (EndpointType.COMPLETIONS, "completions"),
        (EndpointType.COMPLETIONS_LOGPROBS, "completions_logprob"),
        (EndpointType.EMBEDDING, "embedding"),
        (EndpointType.VLM, "vlm"),
    ],
)
def test_command_uses_the_endpoint_types_of_the_contract(endpoint_type: EndpointType, name: str) -> None:
    config = run_config(HARNESS.command(harness_task(endpoint_type=endpoint_type), binding()))
    assert config["target"]["api_endpoint"]["type"] == name


@pytest.mark.parametrize(("limit", "written"), [(10, 10), (10.0, 10), (0.25, 0.25)])
def test_limit_is_a_count_or_a_proportion(limit: float, written: float) -> None:
    params = run_config(HARNESS.command(harness_task(limit_samples=limit), binding()))["config"]["params"]
    assert params["limit_samples"] == written
    assert type(params["limit_samples"]) is type(written)


def test_command_adds_the_task_folder_to_the_python_path() -> None:
    command = HARNESS.command(harness_task(), binding(task_dir=PurePosixPath("/tasks")))
    assert command.env["PYTHONPATH"] == "/tasks"
    assert "PYTHONPATH" not in HARNESS.command(harness_task(), binding()).env


def test_check_reports_unsupported_endpoint_types_and_reserved_keys() -> None:
    config = {"config": {"supported_endpoint_types": ["completions"], "output_dir": "/elsewhere"}}
    first, second = HARNESS.check(harness_task("mmlu", config=config))
    assert str(first) == "task mmlu does not support endpoint type 'chat'\n  it supports completions"
    assert "output_dir is set by nel-action" in str(second)
    assert not HARNESS.check(harness_task("mmlu"))


def test_progress_is_the_count_of_the_adapter_or_the_last_progress_bar(tmp_path: Path) -> None:
    assert HARNESS.progress(tmp_path, "starting") is None
    assert HARNESS.progress(tmp_path, "Requesting API:  45%|███ | 9/20 [00:01<00:02]") == Progress(9, 20)
    (tmp_path / "progress").write_text("17")
    assert HARNESS.progress(tmp_path, "Requesting API:  45%|███ | 9/20 [00:01<00:02]") == Progress(17)
    (tmp_path / "progress").write_text("")
    assert HARNESS.progress(tmp_path, "") is None
