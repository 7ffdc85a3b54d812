from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.local_jobs import job

from nel_action.errors import UsageError
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.check import check
from nel_action.executors.local.docker.arguments import parse
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.execution import LocalExecution
from nel_action.spec.model import Spec

NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


def problems(root: Path, *jobs: Job, environ: dict[str, str] | None = None, **settings: Any) -> list[str]:  # noqa: ANN401
    plan = Plan(spec=Spec(), context=Context(), jobs=jobs)
    workspace = ExecutorContext(home=root / "home", environ=NO_ENGINE if environ is None else environ, base_dir=root)
    return [str(problem) for problem in check(plan, LocalExecution.model_validate(settings), workspace)]


def test_a_plan_of_processes_needs_nothing_but_uv(tmp_path: Path) -> None:
    assert problems(tmp_path, job("one", "pass"), runtime="process") == []


def test_no_engine_is_told_with_what_to_do(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, job("one", "pass", image="x"), runtime="docker", network="host")
    assert problem.startswith("no Docker engine answers at unix:///nowhere/docker.sock (DOCKER_HOST)\n  start it")
    assert "execution.runtime: process" in problem


def test_an_engine_elsewhere_is_refused(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": "tcp://192.0.2.1:2375"}
    found = problems(tmp_path, job("one", "pass", image="x"), environ=environ, runtime="docker", network="host")
    assert len(found) == 1


def test_limits_that_a_process_would_not_obey_are_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, job("one", "pass"), runtime="process", memory="8g", cpus=2.0)
    assert [line.partition(" is obeyed")[0] for line in found] == ["execution.memory", "execution.cpus"]


def test_a_containers_loopback_is_its_own(tmp_path: Path) -> None:
    found = problems(tmp_path, job("one", "pass", image="x"), runtime="docker")
    assert any("cannot reach http://127.0.0.1:9" in line and "execution.network: host" in line for line in found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"memory": "lots"}, "execution.memory: 'lots' is no size"),
        ({"mounts": {"evaluation": {"no-such-folder": "/data"}}}, "no-such-folder"),
        ({"extra_docker_args": "--privileged"}, "'--privileged' has no counterpart here"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    found = problems(tmp_path, job("one", "pass", image="x"), runtime="docker", **settings)
    assert any(words in line for line in found)


def test_a_task_without_an_image_is_named(tmp_path: Path) -> None:
    assert any("one has no image to run in" in line for line in problems(tmp_path, job("one", "pass")))


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    (problem,) = problems(tmp_path, job("one", "pass"), runtime="process")
    assert "NEL_ACTION_HOME" in problem


@pytest.mark.parametrize(
    ("text", "found"),
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
def test_flags_are_understood(text: str, found: dict[str, object]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--privileged", "--privileged"),
        ("--cap-add SYS_ADMIN", "--cap-add"),
        ("--pid host", "--pid"),
        ("--security-opt seccomp=unconfined", "--security-opt"),
        ("--name mine", "--name"),
        ("-it", "-it"),
        ("-e API_KEY", "takes a value from this machine"),
        ("-v /var/run/docker.sock:/s", "whole machine"),
        ("-v data:/data", "not FOLDER:PLACE"),
        ("--cpus many", "--cpus"),
        ("--ulimit nofile", "--ulimit nofile"),
        ("--env 'A=1", "No closing quotation"),
    ],
)
def test_flags_that_are_not_taken_are_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(text)
