"""Every way in which a job can end, each provoked on a real cluster with accounting; nothing continues it here."""

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


def until_started(executor: SlurmExecutor, attempt: Attempt) -> None:
    """Wait until the harness itself has said something."""
    wait_until(lambda: list(executor.logs(attempt, follow=False)), seconds=60, what="the harness to start")


def test_the_harness_fails(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full()
    status = until_final(executor, executor.submit(shell_job(tmp_path, "echo no >&2; exit 3"), 1, "0" * 16))
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 3)


def test_the_harness_is_not_there(on_full: MakeExecutor, tmp_path: Path) -> None:
    job = shell_job(tmp_path, "exec no-such-program")
    executor = on_full()
    status = until_final(executor, executor.submit(job, 1, "0" * 16))
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 127)


def test_the_time_limit_comes(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(walltime="00:02:00")
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(executor, attempt)
    full.run("scontrol", "update", f"jobid={attempt.backend_id}", "EndTime=now+2")
    status = until_final(executor, attempt, seconds=90)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)


def test_the_task_s_own_limit_comes(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path, LONG, timeout=3.0), 1, "0" * 16)
    status = until_final(executor, attempt, seconds=90)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)


def test_memory_runs_out(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    if not full.conf.cgroups:
        pytest.skip("no control groups for memory here")
    executor = on_full(sbatch_extra_flags={"mem": "80"})
    text = "python3 -c 'hog = bytearray(300_000_000)'"
    status = until_final(executor, executor.submit(shell_job(tmp_path, text), 1, "0" * 16))
    assert (status.state, status.reason) == (JobState.FAILED, Reason.OUT_OF_MEMORY)


def test_somebody_cancels_it_by_hand(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(executor, attempt)
    full.run("scancel", attempt.backend_id)
    status = until_final(executor, attempt)
    assert status.state is JobState.CANCELLED
    assert status.detail == "cancelled by user 0"


def test_we_cancel_it(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(executor, attempt)
    executor.cancel([attempt])
    assert not full.run("squeue", "-h", "-j", attempt.backend_id).strip()
    status = executor.poll([attempt])[attempt.key]
    assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)


def test_we_cancel_what_has_never_started(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full(sbatch_extra_flags={"hold": True})
    attempt = executor.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    status = executor.poll([attempt])[attempt.key]
    assert status.state is JobState.PENDING
    assert "held by its user; scontrol release" in (status.detail or "")
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.CANCELLED


def test_cancelling_what_has_ended_changes_nothing(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full()
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    assert until_final(executor, attempt).state is JobState.SUCCEEDED
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.SUCCEEDED


@pytest.mark.parametrize("partition", ["low", "lowcancel"])
def test_other_work_takes_its_place(on_full: MakeExecutor, tmp_path: Path, partition: str) -> None:
    low = on_full(partition=partition, num_nodes=2, sbatch_extra_flags={"exclusive": True})
    attempt = low.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(low, attempt)
    high = on_full(num_nodes=2, sbatch_extra_flags={"exclusive": True})
    other = high.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    status = until_final(low, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.PREEMPTED)
    until_running(high, other)


def test_its_node_is_lost(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    """While the harness works, and while it is about to be started: neither is anybody else's fault."""
    node = full.conf.node_names[-1]
    setup = full.scratch / "slow.sh"
    setup.write_text("sleep 5\n")
    working = on_full(sbatch_extra_flags={"nodelist": node})
    starting = on_full(sbatch_extra_flags={"nodelist": node}, environment=ClusterEnvironment(setup=str(setup)))
    at_work = working.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_started(working, at_work)
    about_to = starting.submit(shell_job(tmp_path, LONG), 1, "0" * 16)
    until_running(starting, about_to)
    frozen = full.kill_node(node)
    try:
        for executor, attempt in ((working, at_work), (starting, about_to)):
            status = until_final(executor, attempt, seconds=180)
            assert (status.state, status.reason) == (JobState.FAILED, Reason.NODE_LOST), status
    finally:
        full.revive_node(node, frozen)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"partition": "nowhere"}, "check execution.partition"),
        ({"gres": "gpu:99"}, "no node of the partition has that"),
        ({"sbatch_extra_flags": {"constraint": "h100"}}, "check the constraint"),
    ],
)
def test_slurm_refuses_it(on_full: MakeExecutor, tmp_path: Path, fields: dict[str, object], words: str) -> None:
    executor = on_full(**fields)
    with pytest.raises(ExecutorError, match="Slurm refuses the job") as caught:
        executor.submit(shell_job(tmp_path), 1, "0" * 16)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"partition": "small", "walltime": "01:00:00"}, "PartitionTimeLimit"),
        ({"partition": "small", "num_nodes": 2}, "PartitionNodeLimit"),
    ],
)
def test_slurm_takes_it_and_never_starts_it(
    on_full: MakeExecutor,
    full: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, object],
    word: str,
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.status.observation.RECORD_GRACE", 1.0)
    executor = on_full(**fields)
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.REJECTED)
    assert word in (status.detail or "")
    assert not full.run("squeue", "-h", "-j", attempt.backend_id).strip(), "it was left in the queue"


def test_its_directory_is_gone(
    on_full: MakeExecutor, full: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.status.observation.RECORD_GRACE", 2.0)
    executor = on_full(sbatch_extra_flags={"hold": True})
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    shutil.rmtree(executor.describe(attempt)["directory"])
    full.run("scontrol", "release", attempt.backend_id)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert "cannot be reached from its node" in (status.detail or "")


def test_secrets_are_gone_once_it_has_ended(on_full: MakeExecutor, tmp_path: Path) -> None:
    executor = on_full(environ={"KEY": "sk-made-up-1"})
    job = shell_job(tmp_path, LONG, env={"KEY": "host:KEY"})
    attempt = executor.submit(job, 1, "0" * 16)
    directory = Path(executor.describe(attempt)["directory"])
    until_running(executor, attempt)
    assert (directory / ".secrets.env").stat().st_mode & 0o777 == 0o600
    executor.cancel([attempt])
    assert not (directory / ".secrets.env").exists()


def test_an_administrator_holds_and_releases_it(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(sbatch_extra_flags={"begin": "now+1hour"})
    attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
    full.run("scontrol", "hold", attempt.backend_id)
    status = until(executor, attempt, lambda one: "held" in (one.detail or ""))
    assert status.state is JobState.PENDING
    full.run("scontrol", "release", attempt.backend_id)
    full.run("scontrol", "update", f"jobid={attempt.backend_id}", "StartTime=now")
    assert until_final(executor, attempt).state is JobState.SUCCEEDED
