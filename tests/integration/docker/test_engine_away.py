"""The engine is away while containers run: an attempt is unknown until it has been observed again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.local_jobs import INVOCATION, Bench, job, key, stop_supervisors, supervisor_pid, wait
from tests.support.proxy_socket import ProxySocket

from nel_action.errors import ExecutorError
from nel_action.executors.interface import poll_attempts
from nel_action.executors.local import executor as executor_module
from nel_action.executors.local.docker.run import container_name
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.local.store import Store
from nel_action.model.job import Attempt, JobState, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import GenericDeployment

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker


@pytest.fixture
def proxy(bench: Bench, engine: DockerClient, tmp_path: Path) -> Iterator[ProxySocket]:
    target = engine.api.base_url
    assert target.startswith("http+docker")
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    proxy = ProxySocket(tmp_path / "engine.sock", host)
    proxy.open()
    bench.environ = {**bench.environ, "DOCKER_HOST": f"unix://{proxy.path}"}
    yield proxy
    # NOTE: not closed before the supervisors have exited, since that would interrupt the removal of containers.
    proxy.open()
    stop_supervisors(tmp_path / "home")
    proxy.close()


def make_job(image: str, script: str) -> Job:
    return job("one", "", image=image, command=("sh", "-c", script))


def until(executor: LocalExecutor, attempt: Attempt, *states: JobState) -> str | None:
    """Poll until the attempt has one of the states; return its detail."""
    deadline = time.monotonic() + 60
    while (status := poll_attempts(executor, [attempt])[attempt.key]).state not in states:
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status.detail


def start(bench: Bench, image: str, script: str) -> tuple[LocalExecutor, Attempt, str]:
    """Start a job, and kill its supervisor while its container runs; return the name of the container."""
    executor = bench.executor()
    attempt = executor.submit(make_job(image, script), 1, INVOCATION)
    until(executor, attempt, JobState.RUNNING)
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    return executor, attempt, container_name(Store(bench.root / "home").at(attempt.key, 1))


def test_an_attempt_is_unknown_while_the_engine_is_away_and_then_continues(
    bench: Bench, engine: DockerClient, image: str, proxy: ProxySocket
) -> None:
    script = "while [ ! -e go ]; do sleep 0.1; done; echo x >> $NEL_OUTPUT_DIR/ran"
    executor, attempt, name = start(bench, image, script)
    proxy.close()
    directory = Store(bench.root / "home").at(attempt.key, 1)
    while directory.unobserved() is None:
        poll_attempts(executor, [attempt])
        time.sleep(0.05)
    detail = until(executor, attempt, JobState.UNKNOWN)
    assert "cannot be observed" in str(detail)
    assert not directory.finished
    assert engine.containers.get(name).status == "running"
    proxy.open()
    until(executor, attempt, JobState.RUNNING)
    (directory.work / "go").touch()
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    assert (directory.artifacts / "ran").read_text() == "x\n"


def test_cancel_fails_until_the_container_was_seen_to_have_stopped(
    bench: Bench, engine: DockerClient, image: str, proxy: ProxySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, attempt, name = start(bench, image, "exec sleep 600")
    proxy.close()
    monkeypatch.setattr(executor_module, "CANCEL_TIMEOUT", 3.0)
    with pytest.raises(ExecutorError, match="still running"):
        executor.cancel([attempt])
    assert engine.containers.get(name).status == "running"
    proxy.open()
    monkeypatch.setattr(executor_module, "CANCEL_TIMEOUT", 60.0)
    executor.cancel([attempt])
    assert poll_attempts(executor, [attempt])[attempt.key].state is JobState.CANCELLED
    assert not engine.containers.list(filters={"name": name}, ignore_removed=True)


def test_a_time_limit_that_passes_while_the_engine_is_away_is_recorded_after_the_container_has_stopped(
    bench: Bench, engine: DockerClient, image: str, proxy: ProxySocket
) -> None:
    executor = bench.executor()
    limited = job("one", "", image=image, command=("sh", "-c", "exec sleep 600"), timeout=4.0)
    attempt = executor.submit(limited, 1, INVOCATION)
    until(executor, attempt, JobState.RUNNING)
    proxy.close()
    until(executor, attempt, JobState.UNKNOWN)
    name = container_name(Store(bench.root / "home").at(attempt.key, 1))
    assert engine.containers.get(name).status == "running"
    proxy.open()
    assert wait(executor, [attempt])[key("one")].reason is Reason.TIME_LIMIT
    assert not engine.containers.list(filters={"name": name}, ignore_removed=True)


def test_a_job_that_never_had_a_container_fails_at_once_without_an_engine(
    bench: Bench, image: str, proxy: ProxySocket
) -> None:
    proxy.close()
    status = bench.run(make_job(image, "true"))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    proxy.open()


def test_a_model_server_is_removed_when_the_engine_returns(
    bench: Bench, engine: DockerClient, image: str, proxy: ProxySocket
) -> None:
    serve = "mkdir /tmp/www; echo fine > /tmp/www/health; exec httpd -f -p {port} -h /tmp/www"
    deployment = GenericDeployment(image=image, command=("sh", "-c", serve), runtime="docker")
    script = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)"
    one = replace(job("one", script), deployment=deployment)
    api = one.target.api_endpoint.model_copy(update={"url": None})
    executor = bench.executor(runtime="process")
    attempt = executor.submit(replace(one, target=one.target.model_copy(update={"api_endpoint": api})), 1, INVOCATION)
    until(executor, attempt, JobState.RUNNING)
    proxy.close()
    (Store(bench.root / "home").at(attempt.key, 1).work / "go").touch()
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    own: dict[str, str | list[str] | bool] = {"label": f"nel-action.store={bench.root / 'home' / 'local'}"}
    assert engine.containers.list(filters=own)
    proxy.open()
    deadline = time.monotonic() + 60
    while engine.containers.list(all=True, filters=own, ignore_removed=True):
        assert time.monotonic() < deadline
        time.sleep(0.1)
