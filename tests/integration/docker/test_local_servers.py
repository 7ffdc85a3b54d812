from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import model_server
from tests.support.local_jobs import INVOCATION, Bench, key, supervisor_pid, wait
from tests.support.local_jobs import job as plain_job

from nel_action.executors.local.store import Store
from nel_action.model.job import JobState, Reason
from nel_action.planning.jobs import Job
from nel_action.spec.auxiliary import AuxiliaryGeneric
from nel_action.spec.deployment import GenericDeployment

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

pytestmark = pytest.mark.docker

SERVE = (
    "mkdir -p /tmp/www/v1/chat; echo fine > /tmp/www/health; echo answer > /tmp/www/v1/chat/completions; "
    "echo loading; exec httpd -f -v -p {port} -h /tmp/www"
)
ASK_IN_CONTAINER = ("sh", "-c", "wget -qO- {url}")
ASK = (
    sys.executable,
    "-c",
    "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())",
    "{url}",
)
SLEEP = ("sh", "-c", "sleep 600")

JobMaker = Callable[..., Job]
"""Name, command line, and any field of a job."""


@pytest.fixture
def served(image: str) -> JobMaker:
    """Return a function that creates jobs with a model server in a container."""

    def make(name: str, command: tuple[str, ...] = ASK_IN_CONTAINER, **fields: Any) -> Job:  # noqa: ANN401
        deployment = {"image": image, "command": ("sh", "-c", SERVE)} | fields.pop("deployment", {})
        plain = plain_job(name, "", command=command, **({"image": image} | fields))
        api = plain.target.api_endpoint.model_copy(update={"url": None})
        target = plain.target.model_copy(update={"api_endpoint": api})
        return replace(plain, target=target, deployment=GenericDeployment.model_validate(deployment))

    return make


def leftovers(bench: Bench, engine: DockerClient) -> Sequence[object]:
    """Wait until the containers and networks of the store have been removed; return those that remain."""
    own: dict[str, str | list[str] | bool] = {"label": f"nel-action.store={bench.root / 'home' / 'local'}"}
    deadline = time.monotonic() + 30
    while remaining := [
        *engine.containers.list(all=True, filters=own, ignore_removed=True),
        *engine.networks.list(filters=own),
    ]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return remaining


def servers(bench: Bench, engine: DockerClient) -> Sequence[Container]:
    store = f"nel-action.store={bench.root / 'home' / 'local'}"
    return engine.containers.list(filters={"label": [store, "nel-action.role=server"]})


def wait_until_started(bench: Bench, name: str) -> None:
    attempt = Store(bench.root / "home").at(key(name), 1)
    deadline = time.monotonic() + 60
    while attempt.start_record() is None:
        assert time.monotonic() < deadline, attempt.exit_record()
        time.sleep(0.05)


def test_server_and_harnesses_share_a_container_network(bench: Bench, engine: DockerClient, served: JobMaker) -> None:
    executor = bench.executor()
    attempts = [executor.submit(served(f"j{n}", index=n), 1, INVOCATION) for n in range(2)]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    assert list(executor.logs(attempts[1], follow=False)) == ["answer"]
    executor.collect(attempts[1], bench.root / "out")
    assert (bench.root / "out/logs/server.log").read_text().count("loading") == 1
    assert leftovers(bench, engine) == []


def test_a_process_reaches_a_server_in_a_container(bench: Bench, engine: DockerClient, served: JobMaker) -> None:
    executor = bench.executor(runtime="process")
    job = served("one", ASK, deployment={"runtime": "docker"}, image=None)
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    assert list(executor.logs(attempt, follow=False)) == ["answer", ""]
    assert leftovers(bench, engine) == []


def test_an_auxiliary_server_in_a_container_is_removed(bench: Bench, engine: DockerClient, image: str) -> None:
    judge = AuxiliaryGeneric.model_validate(
        {"image": image, "command": ("sh", "-c", SERVE), "runtime": "docker", "served_model_name": "wise"}
    )
    script = "import os, urllib.request; print(urllib.request.urlopen(os.environ['JUDGE_CHAT_URL']).read().decode())"
    executor = bench.executor(runtime="process")
    attempt = executor.submit(plain_job("one", script, auxiliary={"judge": judge}), 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    assert list(executor.logs(attempt, follow=False)) == ["answer", ""]
    assert leftovers(bench, engine) == []


def test_a_container_reaches_a_server_in_a_process(bench: Bench, served: JobMaker) -> None:
    argv = (sys.executable, model_server.__file__, "{host}", "{port}", str(bench.root))
    ask = ("sh", "-c", "wget -qO- --post-data=x {url}")
    executor = bench.executor()
    job = served("one", ask, deployment={"runtime": "process", "command": argv, "port": 0})
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    assert list(executor.logs(attempt, follow=False)) == ['{"path": "/v1/chat/completions", "key": null}']


def test_a_job_fails_if_its_server_is_killed(bench: Bench, engine: DockerClient, served: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", SLEEP), 1, INVOCATION)
    wait_until_started(bench, "one")
    servers(bench, engine)[0].kill()
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "the model server exited with status 137" in (status.detail or "")
    assert leftovers(bench, engine) == []


def test_another_supervisor_takes_over_job_and_server(bench: Bench, engine: DockerClient, served: JobMaker) -> None:
    executor = bench.executor()
    slow = ("sh", "-c", "while [ ! -e go ]; do sleep 0.1; done; wget -qO- {url}")
    attempts = [executor.submit(served(f"j{n}", slow, index=n), 1, INVOCATION) for n in range(2)]
    wait_until_started(bench, "j0")
    before = [container.id for container in servers(bench, engine)]
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    for attempt in attempts:
        (Store(bench.root / "home").at(attempt.key, 1).work / "go").touch()
    assert wait(executor, attempts)[key("j1")].state is JobState.SUCCEEDED
    assert executor.poll(attempts)[key("j0")].state is JobState.SUCCEEDED
    assert len(before) == 1
    assert leftovers(bench, engine) == []


def test_cancel_removes_the_server_of_a_killed_supervisor(bench: Bench, engine: DockerClient, served: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(served("one", SLEEP), 1, INVOCATION)
    wait_until_started(bench, "one")
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    executor.cancel([attempt])
    assert executor.poll([attempt])[key("one")].state is JobState.CANCELLED
    assert leftovers(bench, engine) == []


def test_a_job_fails_if_the_image_of_its_server_cannot_be_pulled(
    bench: Bench, engine: DockerClient, served: JobMaker
) -> None:
    job = served("one", deployment={"image": "registry.invalid/nobody/server:1"})
    status = bench.run(job)[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.IMAGE)
    assert "registry.invalid/nobody/server:1" in (status.detail or "")
    assert leftovers(bench, engine) == []
