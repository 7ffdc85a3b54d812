from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from docker.types import LogConfig
from tests.support.local_jobs import INVOCATION, Bench, key, supervisor_pid, wait
from tests.support.local_jobs import job as plain_job

from nel_action.executors.interface import poll_attempts
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.docker.engine import AsyncEngine, RunningContainer
from nel_action.executors.local.docker.run import container_name
from nel_action.executors.local.interface import ExitStatus
from nel_action.executors.local.store import Store
from nel_action.executors.local.supervisor import ensure_supervisor
from nel_action.model.job import JobState, Reason
from nel_action.planning.jobs import Job

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

JobMaker = Callable[..., Job]
"""Name, shell script, and any field of a job."""

pytestmark = pytest.mark.docker


@pytest.fixture
def job(image: str) -> JobMaker:
    def make(name: str, script: str, **fields: Any) -> Job:  # noqa: ANN401
        return plain_job(name, "", **({"image": image, "command": ("sh", "-c", script)} | fields))

    return make


def attempt_dir(bench: Bench, name: str = "one") -> AttemptDir:
    return Store(bench.root / "home").at(key(name), 1)


def running(bench: Bench, engine: DockerClient, name: str = "one") -> Container:
    deadline = time.monotonic() + 30
    while attempt_dir(bench, name).start_record() is None:
        assert time.monotonic() < deadline, attempt_dir(bench, name).exit_record()
        time.sleep(0.02)
    return engine.containers.get(container_name(attempt_dir(bench, name)))


def removed(engine: DockerClient, name: str = "one") -> bool:
    """Wait until the container has been removed; return whether it was, soon after the attempt has finished."""
    deadline = time.monotonic() + 20
    while engine.containers.list(all=True, filters={"name": key(name)}, ignore_removed=True):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_job_runs_as_the_caller_and_its_container_is_removed(
    bench: Bench, engine: DockerClient, job: JobMaker
) -> None:
    script = "id -u; pwd; echo $HOME; echo {} > $NEL_OUTPUT_DIR/scores.json; touch file /tmp/file"
    executor = bench.executor()
    attempt = executor.submit(job("one", script), 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    assert list(executor.logs(attempt, follow=False)) == [str(os.getuid()), "/work", "/tmp"]  # noqa: S108
    executor.collect(attempt, bench.root / "out")
    assert (bench.root / "out/artifacts/scores.json").read_text() == "{}\n"
    assert attempt_dir(bench).artifacts.joinpath("scores.json").stat().st_uid == os.getuid()
    assert removed(engine)


def test_the_container_has_labels_and_limits(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor(memory="64m", cpus=0.5)
    attempt = executor.submit(job("one", "sleep 60"), 1, INVOCATION)
    container = running(bench, engine)
    host = container.attrs["HostConfig"]
    assert host["LogConfig"]["Type"] == "json-file"
    assert container.name == f"{key('one')}-1-{Store(bench.root / 'home').identity[:8]}"
    assert container.labels["nel-action.key"] == key("one")
    assert (container.labels["nel-action.attempt"], container.labels["nel-action.invocation"]) == ("1", INVOCATION)
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (1 << 26, 1 << 26, 500_000_000)
    assert (host["Privileged"], host["CapDrop"], host["SecurityOpt"]) == (False, ["ALL"], ["no-new-privileges"])
    assert host["NetworkMode"] != "host"
    executor.cancel([attempt])


def test_out_of_memory_is_distinguished_from_other_kills(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor(memory="16m", parallelism=2)
    hungry = job("one", "a=x; while true; do a=$a$a; done")
    attempts = [executor.submit(item, 1, INVOCATION) for item in (hungry, job("two", "sleep 60", index=1))]
    running(bench, engine, "two").kill("SIGKILL")
    statuses = wait(executor, attempts)
    assert (statuses[key("one")].reason, statuses[key("one")].exit_code) == (Reason.OUT_OF_MEMORY, 137)
    assert (statuses[key("two")].reason, statuses[key("two")].exit_code) == (Reason.INFRASTRUCTURE, 137)


def test_an_out_of_memory_kill_in_a_harness_that_succeeds_is_reported(bench: Bench, job: JobMaker) -> None:
    status = bench.run(job("one", "tail /dev/zero; exit 0"), memory="32m")[key("one")]
    assert (status.state, status.exit_code) == (JobState.SUCCEEDED, 0)
    assert "out of memory" in str(status.detail)


def test_the_exit_status_of_the_harness_is_reported(bench: Bench, job: JobMaker) -> None:
    status = bench.run(job("one", "echo no such metric >&2; exit 3"))[key("one")]
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 3)
    assert status.detail == "exit status 3: no such metric"


def test_a_job_is_killed_at_its_time_limit(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    status = bench.run(job("one", "sleep 600", timeout=1.0))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert removed(engine)


def test_cancel_stops_the_container(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "sleep 600"), 1, INVOCATION)
    running(bench, engine)
    executor.cancel([attempt])
    assert executor.poll([attempt])[key("one")].state is JobState.CANCELLED
    assert removed(engine)


def test_a_job_fails_if_its_image_cannot_be_pulled(bench: Bench, job: JobMaker) -> None:
    status = bench.run(job("one", "true", image="registry.invalid/nobody/nothing:1"))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.IMAGE)
    assert "registry.invalid/nobody/nothing:1" in (status.detail or "")


def test_pull_never_pulls_no_image(bench: Bench, job: JobMaker) -> None:
    status = bench.run(job("one", "true", image="nobody/nothing:1"), pull="never")[key("one")]
    assert status.reason is Reason.IMAGE
    assert "execution.pull is never" in (status.detail or "")


def test_an_image_with_another_digest_does_not_run(bench: Bench, job: JobMaker) -> None:
    status = bench.run(job("one", "true", image_digest=f"sha256:{0:064x}"), pull="never")[key("one")]
    assert status.reason is Reason.IMAGE


def test_a_container_continues_under_another_supervisor(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    script = "echo begun; while [ ! -e go ]; do sleep 0.1; done; echo done; echo x >> $NEL_OUTPUT_DIR/ran"
    executor = bench.executor()
    attempt = executor.submit(job("one", script), 1, INVOCATION)
    container = running(bench, engine)
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    poll_attempts(executor, [attempt])
    (attempt_dir(bench).work / "go").touch()
    assert wait(executor, [attempt])[key("one")].state is JobState.SUCCEEDED
    assert (attempt_dir(bench).artifacts / "ran").read_text() == "x\n"
    assert list(executor.logs(attempt, follow=False)) == ["begun", "done"]
    assert container.id == attempt_dir(bench).start_record().container  # type: ignore[union-attr]


def test_the_next_supervisor_reports_a_container_that_has_exited(
    bench: Bench, engine: DockerClient, job: JobMaker
) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "while [ ! -e go ]; do sleep 0.1; done; exit 5"), 1, INVOCATION)
    container = running(bench, engine)
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    (attempt_dir(bench).work / "go").touch()
    container.wait()
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.exit_code) == (JobState.FAILED, 5)


def test_a_container_whose_record_is_damaged_is_stopped_before_the_attempt_counts_as_failed(
    bench: Bench, engine: DockerClient, job: JobMaker
) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "exec sleep 600"), 1, INVOCATION)
    container = running(bench, engine)
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    directory = attempt_dir(bench)
    (directory.path / "job.json").write_text("{", encoding="utf-8")
    queue = Store(bench.root / "home").queue(INVOCATION)
    deadline = time.monotonic() + 40
    while not directory.finished:
        ensure_supervisor(Store(bench.root / "home"), queue, bench.environ)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert executor.poll([attempt])[key("one")].reason is Reason.INFRASTRUCTURE
    assert container.name not in {item.name for item in engine.containers.list(ignore_removed=True)}


def test_a_job_fails_if_its_container_is_removed(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "sleep 600"), 1, INVOCATION)
    running(bench, engine).remove(force=True)
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert "another process" in str(status.detail)


def test_a_home_is_recognised_by_another_path(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "while [ ! -e go ]; do sleep 0.1; done"), 1, INVOCATION)
    running(bench, engine)
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    (bench.root / "link").symlink_to(bench.root)
    linked = Bench(bench.root / "link", bench.environ, bench.settings).executor()
    poll_attempts(linked, [attempt])
    (attempt_dir(bench).work / "go").touch()
    assert wait(linked, [attempt])[key("one")].state is JobState.SUCCEEDED


def test_a_container_that_the_attempt_did_not_create_is_not_touched(
    bench: Bench, engine: DockerClient, job: JobMaker, image: str
) -> None:
    other = engine.containers.run(
        image, ["sleep", "60"], name=container_name(attempt_dir(bench)), detach=True, init=True
    )
    try:
        status = bench.run(job("one", "true"))[key("one")]
        assert status.reason is Reason.REJECTED
        assert "docker rm" not in str(status.detail)
        other.reload()
        assert other.status == "running"
    finally:
        other.remove(force=True)


def test_a_cancelled_container_whose_supervisor_was_killed_is_cancelled(
    bench: Bench, engine: DockerClient, job: JobMaker
) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "exec sleep 600"), 1, INVOCATION)
    container = running(bench, engine)
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    attempt_dir(bench).request_cancel()
    container.kill("SIGTERM")
    container.wait()
    assert wait(executor, [attempt])[key("one")].state is JobState.CANCELLED


def test_the_end_of_a_container_is_observed_although_its_log_cannot_be_read(
    tmp_path: Path, engine: DockerClient, image: str
) -> None:
    container = engine.containers.create(
        image, ["sh", "-c", "echo unseen; exit 4"], name=f"{key('one')}-log", log_config=LogConfig(type="none")
    )
    try:
        container.start()

        async def observe() -> ExitStatus:
            connection = AsyncEngine(os.environ)
            try:
                return await RunningContainer(connection, f"{key('one')}-log", tmp_path / "log").wait()
            finally:
                connection.close()

        assert asyncio.run(asyncio.wait_for(observe(), 30)).code == 4
    finally:
        container.remove(force=True)


def test_a_secret_is_in_no_command_line(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "s3cr3t-value"}
    executor = bench.executor()
    waiting = 'echo "$KEY"; while [ ! -e go ]; do sleep 0.1; done'
    attempt = executor.submit(job("one", waiting, env={"KEY": "host:MY_KEY"}), 1, INVOCATION)
    top = running(bench, engine).top()
    assert not [line for line in top["Processes"] if "s3cr3t" in str(line)]
    (attempt_dir(bench).work / "go").touch()
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == ["***"]


def test_directories_are_mounted_as_the_spec_says(bench: Bench, job: JobMaker) -> None:
    for name in ("data", "tasks", "shared"):
        (bench.root / name).mkdir()
        (bench.root / name / "file").write_text(f"{name}\n")
    script = "cat /datasets/file /task/file /mnt/shared/file; touch /datasets/x || touch /task/x || echo refused"
    executor = bench.executor(mounts={"evaluation": {"shared": "/mnt/shared"}})
    attempt = executor.submit(job("one", script, dataset=("data", "/datasets"), task_dir=Path("tasks")), 1, INVOCATION)
    wait(executor, [attempt])
    output = [line for line in executor.logs(attempt, follow=False) if "Read-only file system" not in line]
    assert output == ["data", "tasks", "shared", "refused"]


def test_extra_docker_args_are_applied(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor(extra_docker_args="-e A=1 --ulimit nofile=256:512 --add-host db:10.0.0.9 --pids-limit=40")
    attempt = executor.submit(job("one", "sleep 60"), 1, INVOCATION)
    attrs = running(bench, engine).attrs
    assert "A=1" in attrs["Config"]["Env"]
    assert attrs["HostConfig"]["Ulimits"] == [{"Name": "nofile", "Soft": 256, "Hard": 512}]
    assert "db:10.0.0.9" in attrs["HostConfig"]["ExtraHosts"]
    assert attrs["HostConfig"]["PidsLimit"] == 40
    executor.cancel([attempt])


def test_the_host_network_is_used_if_the_spec_asks_for_it(bench: Bench, engine: DockerClient, job: JobMaker) -> None:
    executor = bench.executor(network="host")
    attempt = executor.submit(job("one", "sleep 60"), 1, INVOCATION)
    assert running(bench, engine).attrs["HostConfig"]["NetworkMode"] == "host"
    executor.cancel([attempt])
