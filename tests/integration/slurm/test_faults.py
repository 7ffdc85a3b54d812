"""Outages of host, controller, database and file system: jobs continue, and nothing is lost or repeated."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import GOOD, shell_job
from tests.support.slurm.relay import Relay
from tests.support.slurm.sshd import Sshd
from tests.support.slurm.waiting import until, until_final, until_running

from nel_action.errors import EngineError, ExecutorError
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.executors.slurm.transport import ControllerDownError
from nel_action.model.job import Attempt, JobState, Reason
from nel_action.retry import Backoff

WAITING = f'until [ -e "$NEL_OUTPUT_DIR/go" ]; do sleep 0.1; done\n{GOOD}'
"""A harness that finishes once a file appears."""


def directory(executor: SlurmExecutor, attempt: Attempt) -> Path:
    return Path(executor.describe(attempt)["directory"])


def release(executor: SlurmExecutor, attempt: Attempt) -> None:
    (directory(executor, attempt) / "run/artifacts/go").touch()


def until_started(executor: SlurmExecutor, attempt: Attempt) -> None:
    marker = directory(executor, attempt) / "run/.launched-client"
    wait_until(marker.exists, seconds=60, what="the harness to start")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_controller_restart(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.remote.OUTAGE_BACKOFF", Backoff(initial=0.5, maximum=0.5))
    executor, without_retries = on_light(), on_light(outage_timeout=0)
    finishing, running, cancelled = (executor.submit(shell_job(tmp_path, WAITING), 1, "0" * 16) for _ in range(3))
    for attempt in (finishing, running, cancelled):
        until_started(executor, attempt)
    fresh = shell_job(tmp_path)
    light.stop_controller()
    try:
        release(executor, finishing)
        submitted = pool.submit(lambda: on_light().submit(fresh, 1, "0" * 16))
        cancellation = pool.submit(lambda: on_light().cancel([cancelled]))
        failed = pool.submit(lambda: without_retries.find([fresh.key]))
        wait_until((directory(executor, finishing) / "state/exit.json").exists, seconds=120, what="a job to finish")
        statuses = executor.poll([finishing, running])
        assert statuses[finishing.key].state is JobState.SUCCEEDED, "the exit record is sufficient"
        assert statuses[running.key].state is JobState.UNKNOWN
        assert "the Slurm controller does not answer" in (statuses[running.key].detail or "")
        with pytest.raises(ControllerDownError, match="nothing was submitted"):
            failed.result(120)
    finally:
        light.start_controller()
    assert until_final(executor, submitted.result(200)).state is JobState.SUCCEEDED
    assert light.run("squeue", "-h", "-t", "all", "-n", f"{fresh.key}-1", "-o", "%i").split() == [
        submitted.result().backend_id
    ]
    cancellation.result(200)
    assert executor.poll([cancelled])[cancelled.key].state is JobState.CANCELLED
    release(executor, running)
    assert until_final(executor, running).state is JobState.SUCCEEDED


def test_database_outage(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    """Queue and exit record are sufficient without it; a job in neither is unknown until it is back."""
    executor = on_full()
    good, killed = (executor.submit(shell_job(tmp_path, WAITING), 1, "0" * 16) for _ in range(2))
    until_started(executor, good)
    until_started(executor, killed)
    full.daemon("slurmdbd").stop()
    try:
        release(executor, good)
        assert until_final(executor, good).state is JobState.SUCCEEDED
        full.kill_processes(killed.backend_id)
        full.forget_finished()
        status = executor.poll([killed])[killed.key]
        assert status.state is JobState.UNKNOWN
        assert "not in the queue any more, and the accounting database does not answer" in (status.detail or "")
        late = executor.submit(shell_job(tmp_path), 1, "0" * 16)
        assert until_final(executor, late).state is JobState.SUCCEEDED
    finally:
        full.start_database()
    status = until_final(executor, killed, seconds=120)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert "without an exit record (signal 9)" in (status.detail or "")


def test_ssh_outage(
    on_light: MakeExecutor, light: Cluster, light_sshd: Sshd, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    with Relay(light_sshd.port) as relay:
        fields = {"port": relay.port, "known_hosts": light_sshd.known_hosts_line("127.0.0.1", relay.port)}
        output = str(light.scratch / f"far-{os.urandom(3).hex()}")
        executor, second = (on_light(output_dir=output, **fields) for _ in range(2))
        attempt = executor.submit(shell_job(tmp_path, WAITING), 1, "0" * 16)
        until_running(executor, attempt)
        job = shell_job(tmp_path)
        relay.refusing = True
        relay.cut()
        status = executor.poll([attempt])[attempt.key]
        assert status.state is JobState.UNKNOWN
        assert "Slurm" not in (status.detail or ""), "the host is down, not Slurm"
        assert "127.0.0.1" in (status.detail or "")
        submitted = pool.submit(lambda: second.submit(job, 1, "0" * 16))
        relay.refusing = False
        assert until_final(second, submitted.result(120)).state is JobState.SUCCEEDED
        release(executor, attempt)
        assert until_final(executor, attempt).state is JobState.SUCCEEDED


def test_cut_connection_during_collection(
    on_light: MakeExecutor, light_sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.remote.OUTAGE_BACKOFF", Backoff(initial=0.1, maximum=0.1))
    with Relay(light_sshd.port) as relay:
        fields = {"port": relay.port, "known_hosts": light_sshd.known_hosts_line("127.0.0.1", relay.port)}
        executor = on_light(**fields)
        text = f'head -c 30000000 /dev/urandom > "$NEL_OUTPUT_DIR/big"\n{GOOD}'
        attempt = executor.submit(shell_job(tmp_path, text), 1, "0" * 16)
        assert until_final(executor, attempt).state is JobState.SUCCEEDED
        expected = (directory(executor, attempt) / "run/artifacts/big").read_bytes()
        relay.cut_after_bytes(5_000_000)
        executor.collect(attempt, tmp_path / "collected")
        assert (tmp_path / "collected/artifacts/big").read_bytes() == expected
        assert sorted(path.name for path in (tmp_path / "collected").iterdir()) == ["artifacts", "logs"]


def test_frozen_ssh_server(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path, pool: ThreadPoolExecutor, own_sshd: Callable[..., Sshd]
) -> None:
    sshd = own_sshd()
    executor = on_light(**access(sshd), command_timeout=3, connect_timeout=3)
    attempt = executor.submit(shell_job(tmp_path, WAITING), 1, "0" * 16)
    until_started(executor, attempt)
    sshd.signal_all(signal.SIGSTOP)
    try:
        status = executor.poll([attempt])[attempt.key]
        assert status.state is JobState.UNKNOWN
        assert "no answer" in (status.detail or "") or "does not answer" in (status.detail or "")
        job = shell_job(tmp_path)
        submitted = pool.submit(lambda: executor.submit(job, 1, "0" * 16))
    finally:
        sshd.signal_all(signal.SIGCONT)
    fresh = submitted.result(200)
    release(executor, attempt)
    for each in (attempt, fresh):
        assert until_final(executor, each, seconds=120).state is JobState.SUCCEEDED
    assert light.run("squeue", "-h", "-t", "all", "-n", f"{job.key}-1", "-o", "%i").split() == [fresh.backend_id]


def test_one_session_per_connection(
    on_light: MakeExecutor, tmp_path: Path, pool: ThreadPoolExecutor, own_sshd: Callable[..., Sshd]
) -> None:
    executor = on_light(**access(own_sshd("MaxSessions 1")))
    jobs = [shell_job(tmp_path, WAITING) for _ in range(3)]
    attempts = list(pool.map(lambda job: executor.submit(job, 1, "0" * 16), jobs))
    for attempt in attempts:
        until_started(executor, attempt)
    followed = [pool.submit(followed_log, executor, attempt) for attempt in attempts]
    polled = [pool.submit(executor.poll, attempts) for _ in range(3)]
    for statuses in polled:
        assert {status.state for status in statuses.result(60).values()} == {JobState.RUNNING}
    for attempt in attempts:
        release(executor, attempt)
    assert [log.result(120) for log in followed] == [["evaluating acme-7b"]] * 3


def followed_log(executor: SlurmExecutor, attempt: Attempt) -> list[str]:
    return list(executor.logs(attempt, follow=True))


def test_changed_host_key(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path, own_sshd: Callable[..., Sshd]
) -> None:
    sshd = own_sshd()
    output = str(light.scratch / f"key-{os.urandom(3).hex()}")
    executor = on_light(**access(sshd), output_dir=output)
    attempt = executor.submit(shell_job(tmp_path, WAITING), 1, "0" * 16)
    sshd.change_host_key()
    executor.close()
    status = executor.poll([attempt])[attempt.key]
    assert status.state is JobState.UNKNOWN
    assert "its host key has changed" in (status.detail or "")
    with pytest.raises(EngineError, match="the connection may be intercepted") as raised:
        executor.submit(shell_job(tmp_path), 1, "0" * 16)
    line = str(raised.value).splitlines()[-1].strip()
    assert line == sshd.known_hosts.strip()
    updated = on_light(**(access(sshd) | {"known_hosts": line}), output_dir=output)
    assert updated.find([attempt.key])[attempt.key].backend_id == attempt.backend_id


def test_login_node_with_a_wrong_clock(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    """Hours ahead or behind, and differing between two login nodes."""
    output = light.scratch / f"skew-{os.urandom(3).hex()}"
    ahead, behind = (on_light(bin_dir=str(skewed(light, hours)), output_dir=str(output)) for hours in (3, -3))
    for first, second in ((ahead, behind), (behind, ahead)):
        job = shell_job(tmp_path, WAITING)
        attempt = first.submit(job, 1, "0" * 16)
        assert second.submit(job, 1, "1" * 16).backend_id == attempt.backend_id
        until_started(first, attempt)
        light.kill_processes(attempt.backend_id)
        status = until(second, attempt, lambda status: status.state is not JobState.RUNNING)
        assert status.state is JobState.UNKNOWN, "the exit record may still appear"
        stale = shell_job(tmp_path)
        intent = output / f"{stale.key}-1/state/intent"
        first.remote.run(["mkdir", "-p", str(intent.parent)], ["sh", "-c", 'date +%s >"$1"', "intent", str(intent)])
        hour_ago = intent.stat().st_mtime - 3600
        os.utime(intent, (hour_ago, hour_ago))
        assert second.find([stale.key]) == {}
        assert until_final(second, second.submit(stale, 1, "0" * 16)).state is JobState.SUCCEEDED


def test_full_disk(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    disk = light.scratch / f"disk-{os.urandom(3).hex()}"
    disk.mkdir()
    ids = f"uid={light.user.pw_uid},gid={light.user.pw_gid},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=2m,{ids}", "none", str(disk)], check=True)
    try:
        executor = on_light(output_dir=str(disk), environ={"KEY": "sk-made-up"})
        fills = 'head -c 9000000 /dev/urandom > "$NEL_OUTPUT_DIR/big" || exit 5'
        attempt = executor.submit(shell_job(tmp_path, fills, env={"KEY": "host:KEY"}), 1, "0" * 16)
        status = until_final(executor, attempt)
        assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 5)
        assert not (directory(executor, attempt) / ".secrets.env").exists()
        job = shell_job(tmp_path)
        with pytest.raises(ExecutorError, match="cannot") as raised:
            executor.submit(job, 1, "0" * 16)
        assert str(disk) in str(raised.value)
        (directory(executor, attempt) / "run/artifacts/big").unlink()
        assert until_final(executor, executor.submit(job, 1, "0" * 16)).state is JobState.SUCCEEDED
    finally:
        light.cancel_all()
        wait_until(lambda: unmounted(disk), seconds=30, what="the disk to be unused")


def unmounted(disk: Path) -> bool:
    return subprocess.run(["umount", str(disk)], capture_output=True, check=False).returncode == 0


def skewed(cluster: Cluster, hours: int) -> Path:
    """Return a folder with a `date` that is wrong by that many hours."""
    folder = cluster.scratch / f"clock{hours}"
    folder.mkdir(exist_ok=True)
    (folder / "date").write_text(f'#!/bin/sh\nexec /usr/bin/date -d "{hours} hours" "$@"\n')
    (folder / "date").chmod(0o755)
    return folder


def access(sshd: Sshd) -> dict[str, object]:
    return {"port": sshd.port, "known_hosts": sshd.known_hosts, "key_file": str(sshd.key)}


@pytest.fixture
def own_sshd(light: Cluster) -> Iterator[Callable[..., Sshd]]:
    """Yield a factory of SSH servers for the light cluster that a test may break."""
    with ExitStack() as stack:

        def make(*options: str) -> Sshd:
            return stack.enter_context(Sshd(light.user.pw_name, slurm_conf=light.root / "slurm.conf", options=options))

        yield make
