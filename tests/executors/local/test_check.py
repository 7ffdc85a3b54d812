from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.local_jobs import job

from nel_action.errors import UsageError
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.check import check, check_gateway
from nel_action.executors.local.docker.options import parse_docker_args
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.execution import LocalExecution
from nel_action.spec.gateway import Gateway
from nel_action.spec.model import Spec

pytestmark = pytest.mark.slow

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


def problems(root: Path, *jobs: Job, environ: dict[str, str] | None = None, **settings: Any) -> list[str]:  # noqa: ANN401
    plan = Plan(spec=Spec(), context=Context(), jobs=jobs)
    context = ExecutorContext(home=root / "home", environ=NO_ENGINE if environ is None else environ, base_dir=root)
    return [str(problem) for problem in check(plan, LocalExecution.model_validate(settings), context)]


def test_check_accepts_a_plan_of_processes(tmp_path: Path) -> None:
    assert problems(tmp_path, job("one", "pass"), runtime="process") == []


def test_check_reports_a_missing_engine_with_the_fix(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, job("one", "pass", image="x"), runtime="docker", network="host")
    assert problem.startswith("no Docker engine answers at unix:///nowhere/docker.sock (DOCKER_HOST)\n  start it")
    assert "execution.runtime: process" in problem


def test_check_rejects_a_remote_engine(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://192.0.2.1:2375"}
    messages = problems(tmp_path, job("one", "pass", image="x"), environ=environ, runtime="docker", network="host")
    assert len(messages) == 1


def test_check_rejects_loopback_targets_for_containers(tmp_path: Path) -> None:
    messages = problems(tmp_path, job("one", "pass", image="x"), runtime="docker")
    assert any("cannot reach http://127.0.0.1:9" in text and "execution.network: host" in text for text in messages)


def test_check_accepts_loopback_targets_behind_the_gateway(tmp_path: Path) -> None:
    behind = replace(job("one", "pass", image="x"), gateway=Gateway())
    assert not any("cannot reach http" in text for text in problems(tmp_path, behind, runtime="docker"))


class Engine:
    """What an engine reports about itself."""

    def __init__(self, *security_options: str) -> None:
        self._info = {"SecurityOptions": list(security_options)}

    def info(self) -> dict[str, Any]:
        return self._info


@pytest.mark.parametrize(
    ("engine", "host", "network", "expected"),
    [
        (Engine(), "tcp://192.0.2.1:2375", None, "is on another machine"),
        (Engine(), "ssh://me@192.0.2.1", None, "is on another machine"),
        (Engine("name=seccomp", "name=rootless"), "", None, "rootless"),
        (Engine(), "", "container:db", "the network of another container"),
        (Engine(), "unix:///run/docker.sock", "host", None),
    ],
)
def test_check_rejects_engines_whose_containers_cannot_reach_the_gateway(
    engine: Any,  # noqa: ANN401 an engine's client
    host: str,
    network: str | None,
    expected: str | None,
) -> None:
    found = list(check_gateway(engine, LocalExecution(network=network), {"DOCKER_HOST": host}))
    assert [expected in problem.message for problem in found if expected] == [True] * len(found)
    assert bool(found) == (expected is not None)
    assert all("gateway: false" in str(problem.hint) for problem in found)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mounts": {"evaluation": {"no-such-folder": "/data"}}}, "no-such-folder"),
        ({"network": "none"}, "keeps the harness from reaching the model"),
        ({"extra_docker_args": "--net none"}, "keeps the harness from reaching the model"),
    ],
)
def test_check_names_an_invalid_setting(tmp_path: Path, settings: dict[str, Any], expected: str) -> None:
    messages = problems(tmp_path, job("one", "pass", image="x"), runtime="docker", **settings)
    assert any(expected in message for message in messages)


def test_check_names_a_task_without_an_image(tmp_path: Path) -> None:
    assert any("one has no image to run in" in text for text in problems(tmp_path, job("one", "pass")))


def test_check_reports_a_home_that_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    (problem,) = problems(tmp_path, job("one", "pass"), runtime="process")
    assert "NEL_ACTION_HOME" in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("-e A=1 --env=B=x=y", {"environment": {"A": "1", "B": "x=y"}}),
        ("--shm-size 2g --ipc=private", {"shm_size": "2g", "ipc_mode": "private"}),
        ("--cpus 1.5 -m 8g --rm", {"nano_cpus": 1_500_000_000, "mem_limit": "8g"}),
        ("-v /data:/data:ro", {"volumes": ["/data:/data:ro"]}),
        ("--ulimit stack=67108864", {"ulimits": [{"name": "stack", "soft": 67108864, "hard": 67108864}]}),
        ("--read-only --net none", {"read_only": True, "network": "none"}),
    ],
)
def test_parse_docker_args_accepts_supported_options(text: str, expected: dict[str, object]) -> None:
    assert parse_docker_args(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--privileged", "--privileged"),
        ("--cap-add SYS_ADMIN", "--cap-add"),
        ("--pid host", "--pid"),
        ("--security-opt seccomp=unconfined", "--security-opt"),
        ("--name mine", "--name"),
        ("-it", "-it"),
        ("-e API_KEY", "copies a value from this machine"),
        ("--ipc host", "--ipc host"),
        ("--gpus all", "--gpus has no effect"),
        ("--gpus=all", "--gpus has no effect"),
        ("-v data:/data", "not SOURCE:TARGET"),
        ("--cpus many", "--cpus"),
        ("--ulimit nofile", "--ulimit nofile"),
        ("--env 'A=1", "No closing quotation"),
    ],
)
def test_parse_docker_args_rejects_other_options_by_name(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_docker_args(text)
