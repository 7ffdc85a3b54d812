"""The gateway's configuration, its program as one file, and the environment without the key."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.local_jobs import job

from nel_action.executors.gateway import (
    UPSTREAM_KEY,
    behind_gateway,
    config_text,
    gateway_config,
    gateway_url,
    harness_key,
    pack_gateway,
    progress_with_counters,
    with_stop_reason,
)
from nel_action.gateway.config import load_config
from nel_action.harnesses.interface import Command
from nel_action.harnesses.registry import harness
from nel_action.model.job import JobState, JobStatus, Reason
from nel_action.model.task import Params, Progress
from nel_action.planning.jobs import AdapterSteps, Job, Limits
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.gateway import Gateway, Rates, merged_gateway
from nel_action.spec.target import ApiEndpoint, Target

URL = "https://host/v1/chat/completions?version=2"


def gateway_job(key: str | None = "MODEL_KEY", **fields: object) -> Job:
    target = Target(api_endpoint=ApiEndpoint(url=URL, model_id="m", api_key_name=key))
    return replace(job("a", ""), gateway=Gateway(), target=target, **fields)  # type: ignore[arg-type]


def configured(job_: Job) -> dict[str, object]:
    return gateway_config(job_, url=URL, record="/r", counters="/c", attempt=2, invocation="i" * 16)


def test_configuration_is_valid_and_names_the_key_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPSTREAM_KEY, "sk-secret")
    text = config_text(configured(gateway_job()))
    config = load_config(text)
    assert (config.upstream, config.api_key_name, config.record) == (URL, UPSTREAM_KEY, "/r")
    assert (config.max_retries, config.request_timeout) == (5, 600.0)
    assert config.header["attempt"] == "2"
    assert "sk-secret" not in text


def test_answers_expire_only_if_neither_a_revision_nor_a_deployment_fixes_the_model() -> None:
    plain = gateway_job()
    revision = replace(plain, target=plain.target.model_copy(update={"revision": "sha256:1"}))
    deployment = GenericDeployment(type="generic", image="i", command="c", served_model_name="m")
    ages = [configured(item)["max_age"] for item in (plain, revision, replace(plain, deployment=deployment))]
    assert ages == [24 * 3600, 0.0, 0.0]


def test_harness_reaches_the_gateway_by_the_same_path_and_waits_for_all_its_tries() -> None:
    assert gateway_url(URL, "127.0.0.1:5") == "http://127.0.0.1:5/v1/chat/completions?version=2"
    task = replace(gateway_job().task, params=Params(request_timeout=10.0, max_retries=2))
    params = behind_gateway(gateway_job(task=task)).task.params
    assert params.max_retries == 1
    assert params.request_timeout == pytest.approx(3 * 10 + 1 + 2 + 60)
    limits = Limits(readiness_timeout=100.0, requests_per_minute=60.0)
    waiting = behind_gateway(gateway_job(task=task, limits=limits)).task.params
    assert waiting.request_timeout == pytest.approx(3 * 10 + 1 + 2 + 60 + 100 + 3 * 4)
    none = behind_gateway(gateway_job(task=replace(task, params=Params(max_retries=0)))).task.params
    assert none.max_retries == 0


def test_key_is_in_the_environment_of_the_gateway_only_under_every_name_that_the_harness_reads() -> None:
    command = Command(argv=("x",), secret_env={"OPENAI_API_KEY": "MODEL_KEY", "HF_TOKEN": "HF"})
    env = {"MODEL_KEY": "sk-1", "OPENAI_API_KEY": "sk-1", "HF_TOKEN": "hf", "A": "1"}
    separated = harness_key(gateway_job(), command, env)
    assert separated.env == {"HF_TOKEN": "hf", "A": "1"}
    assert separated.tokens == ("MODEL_KEY", "OPENAI_API_KEY")
    assert separated.upstream == {UPSTREAM_KEY: "sk-1"}
    assert harness_key(gateway_job(key=None), command, env).env == env


def test_archive_is_equal_for_equal_sources_and_runs_without_packages(tmp_path: Path) -> None:
    packed = pack_gateway()
    pack_gateway.cache_clear()
    assert pack_gateway() == packed
    assert len(packed) < 96 * 1024
    path = tmp_path / "gateway.pyz"
    path.write_bytes(packed)
    done = subprocess.run((sys.executable, "-I", "-S", path, "--help"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout


def test_settings_of_a_task_replace_those_of_the_spec_key_by_key() -> None:
    top = Gateway(keep_days=3, rates=Rates(max_concurrency=2))
    merged = merged_gateway([top, Gateway(replay=False, rates=Rates(requests_per_minute=5))])
    assert (merged.keep_days, merged.replay) == (3, False)
    assert merged.rates == Rates(max_concurrency=2, requests_per_minute=5)
    assert not merged_gateway([top, False]).enabled
    assert merged_gateway([False, True]).enabled
    assert merged_gateway([True, None]) == Gateway()


def test_limits_and_adapter_steps_of_a_job_are_in_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UPSTREAM_KEY, "sk-secret")
    limits = Limits(requests_per_minute=30.0, max_concurrency=3, budget={"cost": 1.0}, prices={"input": 1, "output": 2})
    adapter = AdapterSteps(steps={"reasoning": {}}, log={"requests": 5}, client_errors={"first": 400})
    config = load_config(config_text(configured(gateway_job(limits=limits, adapter=adapter))))
    assert (config.requests_per_minute, config.max_concurrency, config.tokens_per_minute) == (30.0, 3, 0.0)
    assert (config.budget, config.prices) == ({"cost": 1.0}, {"input": 1.0, "output": 2.0})
    assert (config.adapter, config.log, config.client_errors) == ({"reasoning": {}}, {"requests": 5}, {"first": 400})
    assert config.log_directory == "/"


def test_an_own_model_server_is_asked_for_one_token_first() -> None:
    served = configured(gateway_job(limits=Limits(readiness_timeout=9.0)))
    assert served["readiness"] == {
        "seconds": 9.0,
        "body": {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    }
    assert configured(gateway_job())["readiness"] == {}


def test_the_cache_of_a_nemo_adapter_is_off_behind_the_gateway() -> None:
    def adapter(config: dict[str, object]) -> object:
        task = replace(gateway_job().task, config={"target": {"api_endpoint": {"adapter_config": config}}})
        behind = behind_gateway(gateway_job(task=task, harness="nemo")).task.config
        return behind["target"]["api_endpoint"]["adapter_config"]

    assert adapter({}) == {"use_caching": False}
    assert adapter({"use_caching": True, "use_reasoning": True}) == {"use_caching": False, "use_reasoning": True}
    interceptors = ["caching", {"name": "caching", "config": {"cache_dir": "/c"}}, "endpoint"]
    off = {"reuse_cached_responses": False}
    assert adapter({"use_caching": True, "interceptors": interceptors}) == {
        "interceptors": [
            {"name": "caching", "config": off},
            {"name": "caching", "config": {"cache_dir": "/c", **off}},
            "endpoint",
        ],
    }
    assert behind_gateway(gateway_job()).task.config == gateway_job().task.config


def test_the_exit_codes_of_a_stop_become_reasons_only_behind_the_gateway() -> None:
    failed = JobStatus(state=JobState.FAILED, reason=Reason.HARNESS, detail="exit status 121", exit_code=121)
    stopped = with_stop_reason(failed, gateway_job())
    assert (stopped.reason, stopped.exit_code) == (Reason.BUDGET, 121)
    assert "budget is exhausted" in str(stopped.detail)
    assert with_stop_reason(replace(failed, exit_code=122), gateway_job()).reason is Reason.ENDPOINT
    assert with_stop_reason(failed, replace(gateway_job(), gateway=None)) == failed
    for other in (replace(failed, exit_code=1), replace(failed, reason=Reason.OUT_OF_MEMORY)):
        assert with_stop_reason(other, gateway_job()) == other


def counters(folder: Path, **values: float) -> Path:
    path = folder / "gateway.json"
    path.write_text(json.dumps({"started": 100.0, "updated": 110.0, "delivered": 60, "paid": 20, **values}))
    return path


def test_time_left_is_that_of_answers_which_are_not_replayed(tmp_path: Path) -> None:
    lm_eval, command = harness("lm_eval"), harness("command")
    path = counters(tmp_path)
    assert progress_with_counters(lm_eval, Progress(50, 100), path) == Progress(60, 100, 20.0)
    assert progress_with_counters(lm_eval, Progress(99, 100), path) == Progress(99, 100, 0.5)
    assert progress_with_counters(lm_eval, Progress(5, 100), counters(tmp_path, paid=0)) == Progress(60, 100, None)
    assert progress_with_counters(command, None, path) == Progress(60)
    assert progress_with_counters(command, Progress(3, 9), path) == Progress(3, 9)
    assert progress_with_counters(command, Progress(3, 9), tmp_path / "none") == Progress(3, 9)
