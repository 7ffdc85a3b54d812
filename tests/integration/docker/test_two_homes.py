"""Homes that share an engine: the same job runs once at a time, and containers that nobody uses are removed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.local_jobs import INVOCATION, Bench, job, stop_supervisors, supervisor_pid, wait
from tests.support.slurm.daemons import wait_until

from nel_action.executors.interface import poll_attempts
from nel_action.executors.local.attempt import JobRecord
from nel_action.executors.local.docker.run import HOME_LABEL, LABEL, STORE_LABEL, UNTIL_LABEL, container_name
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.local.store import Store
from nel_action.model.job import Attempt, JobState
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker


@pytest.fixture
def neighbour(bench: Bench, tmp_path: Path) -> Iterator[Bench]:
    """Return a second home on the same engine."""
    root = tmp_path / "neighbour"
    yield Bench(root, bench.environ, bench.settings)
    stop_supervisors(root / "home")


def until(executor: LocalExecutor, attempt: Attempt, text: str) -> None:
    """Poll until the attempt's state or detail contains a text."""
    deadline = time.monotonic() + 60
    while text not in str(status := poll_attempts(executor, [attempt])[attempt.key]):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def test_a_container_of_another_home_is_waited_for_and_its_result_is_used(
    bench: Bench, neighbour: Bench, image: str
) -> None:
    script = "echo x >> $NEL_OUTPUT_DIR/ran; while [ ! -e go ]; do sleep 0.1; done"
    one = job("one", "", image=image, command=("sh", "-c", script))
    first = bench.executor().submit(one, 1, INVOCATION)
    until(bench.executor(), first, "running")
    # NOTE: without its supervisor, only the engine shows that the job runs.
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    second = neighbour.executor().submit(one, 1, INVOCATION)
    until(neighbour.executor(), second, f"waiting for the same job in {bench.root / 'home/local'}")
    (Path(str(first.backend_id)) / "work/go").touch()
    assert wait(bench.executor(), [first])[one.key].state is JobState.SUCCEEDED
    detail = wait(neighbour.executor(), [second])[one.key].detail
    assert detail == f"the results are those of {first.backend_id}"
    assert (Path(str(second.backend_id)) / "artifacts/ran").read_text() == "x\n"


def test_a_container_past_its_time_limit_belongs_to_a_deleted_home_and_is_removed(
    bench: Bench, engine: DockerClient, image: str
) -> None:
    one = job("one", "", image=image, command=("true",))
    labels = {f"{LABEL}.key": one.key, f"{LABEL}.attempt": "1", f"{LABEL}.home": "deleted", UNTIL_LABEL: "1"}
    abandoned = engine.containers.run(image, ["sleep", "600"], labels=labels, detach=True)
    try:
        assert bench.run(one)[one.key].state is JobState.SUCCEEDED
        assert not engine.containers.list(all=True, filters={"id": str(abandoned.id)}, ignore_removed=True)
    finally:
        for container in engine.containers.list(all=True, filters={"id": str(abandoned.id)}, ignore_removed=True):
            container.remove(force=True)


@pytest.mark.parametrize(("claim", "state"), [("", JobState.SUCCEEDED), ("starting", JobState.FAILED)])
def test_a_container_that_may_have_run_for_a_moment_is_not_started_again(
    bench: Bench, engine: DockerClient, image: str, claim: str, state: JobState
) -> None:
    store = Store(bench.root / "home")
    one = job("one", "", image=image, command=("true",))
    settings = LocalExecution(shm_size="64m")
    record = JobRecord(
        job=one,
        number=1,
        invocation=INVOCATION,
        settings=settings,
        base_dir=bench.root,
        submitted="2026-01-01T00:00:00Z",
    )
    store.queue(INVOCATION).create().add(f"{one.key}-1")
    assert store.create(record, values={}, copies={})
    directory = store.at(one.key, 1)
    directory.claim.write_text(claim)
    labels = {HOME_LABEL: store.identity, STORE_LABEL: str(store.root)}
    engine.containers.create(image, ["true"], name=container_name(directory), labels=labels)
    status = wait(bench.executor(), [bench.executor().submit(one, 1, INVOCATION)])[one.key]
    assert status.state is state
    name = container_name(directory)
    wait_until(
        lambda: not engine.containers.list(all=True, filters={"name": name}, ignore_removed=True),
        seconds=30,
        what="the container to be removed",
    )
