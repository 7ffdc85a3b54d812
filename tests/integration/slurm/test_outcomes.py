"""Every way in which a job can finish, provoked on a real cluster with accounting; without continuations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import GOOD, shell_job
from tests.support.slurm.waiting import until, until_final, until_running

from nel_action.errors import ExecutorError
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, Reason
from nel_action.spec.slurm import ClusterEnvironment

LONG = f"{GOOD}\nsleep 600"


def until_output(executor: SlurmExecutor, attempt: Attempt) -> None:
    """Wait until the harness has printed a line."""
    wait_until(lambda: list(executor.logs(attempt, follow=False)), seconds=60, what="the harness to start")


def test_failed_harness(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full()
    status = until_final(executor, executor.submit(shell_job(tmp_path, "echo no >&2; exit 3"), 1, "0" * 16))
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 3)


def test_missing_harness_program(on_full: MakeExecutor, tmp_path: Path) -> None:
    job = shell_job(tmp_path, "exec no-such-program")
    executor = on_full()
    status = until_final(executor, executor.submit(job, 1, "0" * 16))
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 127)


def test_walltime_reached(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(walltime="00:02:00")
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(executor, attempt)
    full.run("scontrol", "update", f"jobid={attempt.backend_id}", "EndTime=now+2")
    status = until_final(executor, attempt, seconds=90)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)


def test_task_timeout_reached(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path, LONG, timeout=3.0), 1, "0" * 16)
    status = until_final(executor, attempt, seconds=90)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)


def test_out_of_memory(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    if not full.conf.cgroups:
        pytest.skip("no control groups for memory on this machine")
    executor = on_full(sbatch_extra_flags={"mem": "80"})
    text = "python3 -c 'hog = bytearray(300_000_000)'"
    status = until_final(executor, executor.submit(shell_job(tmp_path, text), 1, "0" * 16))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.OUT_OF_MEMORY)


def test_cancelled_with_scancel(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(executor, attempt)
    full.run("scancel", attempt.backend_id)
    status = until_final(executor, attempt)
    assert status.state is JobState.CANCELLED
    assert status.detail == "cancelled by root"


def test_cancelled_by_the_executor(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(executor, attempt)
    executor.cancel([attempt])
    assert not full.run("squeue", "-h", "-j", attempt.backend_id).strip()
    status = executor.poll([attempt])[attempt.key]
    assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)


def test_cancelled_before_it_started(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full(sbatch_extra_flags={"hold": True})
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    status = executor.poll([attempt])[attempt.key]
    assert status.state is JobState.PENDING
    assert "held by its user; scontrol release" in (status.detail or "")
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.CANCELLED


def test_cancelling_a_finished_job_changes_nothing(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    assert until_final(executor, attempt).state is JobState.SUCCEEDED
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.SUCCEEDED


@pytest.mark.parametrize("partition", ["low", "lowcancel"])
def test_preempted(on_full: MakeExecutor, tmp_path: Path, partition: str) -> None:
    low = on_full(partition=partition, num_nodes=2, sbatch_extra_flags={"exclusive": True})
    attempt = low.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(low, attempt)
    high = on_full(num_nodes=2, sbatch_extra_flags={"exclusive": True})
    preempting = high.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    status = until_final(low, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.PREEMPTED)
    until_running(high, preempting)


def test_node_lost(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    """While the harness runs, and just before it is started."""
    node = full.conf.node_names[-1]
    setup = full.scratch / "slow.sh"
    setup.write_text("sleep 5\n")
    working = on_full(sbatch_extra_flags={"nodelist": node})
    starting = on_full(sbatch_extra_flags={"nodelist": node}, environment=ClusterEnvironment(setup=str(setup)))
    running = working.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_output(working, running)
    pending = starting.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(starting, pending)
    frozen = full.kill_node(node)
    try:
        for executor, attempt in ((working, running), (starting, pending)):
            status = until_final(executor, attempt, seconds=180)
            assert (status.state, status.reason) == (JobState.FAILED, Reason.NODE_LOST), status
    finally:
        full.revive_node(node, frozen)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"partition": "nowhere"}, "check execution.partition"),
        ({"gres": "gpu:99"}, "no node of the partition has these resources"),
        ({"sbatch_extra_flags": {"constraint": "h100"}}, "check the constraint"),
    ],
)
def test_rejected_by_sbatch(on_full: MakeExecutor, tmp_path: Path, fields: dict[str, object], hint: str) -> None:
    executor = on_full(**fields)
    with pytest.raises(ExecutorError, match="Slurm rejects the job") as raised:
        executor.submit(shell_job(tmp_path), 1, "0" * 16)
    assert hint in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "pending_reason"),
    [
        ({"partition": "small", "walltime": "01:00:00"}, "PartitionTimeLimit"),
        ({"partition": "small", "num_nodes": 2}, "PartitionNodeLimit"),
    ],
)
def test_accepted_but_unschedulable(
    on_full: MakeExecutor,
    full: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, object],
    pending_reason: str,
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.status.observation.RECORD_GRACE", 1.0)
    executor = on_full(**fields)
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.REJECTED)
    assert pending_reason in (status.detail or "")
    assert not full.run("squeue", "-h", "-j", attempt.backend_id).strip(), "the job is still in the queue"


def test_directory_removed(
    on_full: MakeExecutor, full: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.status.observation.RECORD_GRACE", 2.0)
    executor = on_full(sbatch_extra_flags={"hold": True})
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    shutil.rmtree(executor.describe(attempt)["directory"])
    full.run("scontrol", "release", attempt.backend_id)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert "not accessible on its node" in (status.detail or "")


def test_secrets_are_removed_after_cancellation(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full(environ={"KEY": "sk-made-up-1"})
    job = shell_job(tmp_path, LONG, env={"KEY": "host:KEY"})
    attempt = executor.submit(job, 1, "0" * 16)
    directory = Path(executor.describe(attempt)["directory"])
    until_running(executor, attempt)
    assert (directory / ".secrets.env").stat().st_mode & 0o777 == 0o600
    executor.cancel([attempt])
    assert not (directory / ".secrets.env").exists()


def test_held_and_released_by_an_administrator(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(sbatch_extra_flags={"begin": "now+1hour"})
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    full.run("scontrol", "hold", attempt.backend_id)
    status = until(executor, attempt, lambda status: "held" in (status.detail or ""))
    assert status.state is JobState.PENDING
    full.run("scontrol", "release", attempt.backend_id)
    full.run("scontrol", "update", f"jobid={attempt.backend_id}", "StartTime=now")
    assert until_final(executor, attempt).state is JobState.SUCCEEDED
