"""The executor with stub programs of Slurm; integration tests use a real cluster."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.stub_cluster import StubCluster

from nel_action.errors import CollectError, ExecutorError, UnreachableError
from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.executors.slurm import submission
from nel_action.executors.slurm.transport import ControllerDownError
from nel_action.model.job import Attempt, JobState, Key
from nel_action.retry import Backoff

KEY = Key("nel-0123456789abcdef")


@pytest.fixture
def cluster(tmp_path: Path) -> StubCluster:
    return StubCluster(tmp_path / "cluster")


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(key=KEY, number=1, backend_id="7")


def queue_row(state: str, reason: str = "None") -> str:
    return f"7|{KEY}-1|{state}|{reason}|2026-11-22T10:00:00|N/A|N/A|/runs/{KEY}-1"


def test_poll_leaves_unschedulable_jobs_to_reconcile(
    cluster: StubCluster, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.status.observation.RECORD_GRACE", 0.0)
    cluster.set_queue(queue_row("PENDING", "PartitionNodeLimit"))
    executor = cluster.executor()
    assert executor.poll([attempt])[KEY].state is JobState.PENDING, "the first observation may be temporary"
    statuses = executor.poll([attempt])
    assert statuses[KEY].state is JobState.FAILED
    assert cluster.calls("scancel") == []
    assert executor.reconcile([attempt], statuses) == statuses
    assert cluster.calls("scancel") == ["scancel 7"]
    executor.reconcile([attempt], statuses)
    assert cluster.calls("scancel") == ["scancel 7"]


def test_reconcile_keeps_jobs_that_may_start(cluster: StubCluster, attempt: Attempt) -> None:
    cluster.set_queue(queue_row("PENDING", "Priority"))
    executor = cluster.executor()
    assert poll_attempts(executor, [attempt])[KEY].state is JobState.PENDING
    assert poll_attempts(executor, [attempt])[KEY].state is JobState.PENDING
    assert cluster.calls("scancel") == []


def test_find_removes_nothing_without_sweep(cluster: StubCluster) -> None:
    expired = cluster.output_dir / "nel-00000000000000aa-1"
    (expired / "state").mkdir(parents=True)
    (expired / "job.json").write_text("{}")
    (expired / "state/exit.json").write_text("{}")
    (expired / ".secrets.env").write_text("export KEY=made-up\n")
    for path in (expired / "state/exit.json", expired / ".secrets.env"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    executor = cluster.executor(keep_days=1)
    executor.find([KEY])
    assert (expired / ".secrets.env").exists()
    cluster.set_controller(up=False)
    executor.sweep([KEY])
    assert (expired / ".secrets.env").exists(), "without an answer, every job may be in the queue"
    cluster.set_controller(up=True)
    find_attempts(cluster.executor(), [KEY])
    assert not (expired / ".secrets.env").exists()
    assert expired.exists()
    find_attempts(cluster.executor(keep_days=1), [KEY])
    assert not expired.exists()


def test_poll_logs_changes_of_state(cluster: StubCluster, attempt: Attempt, caplog: pytest.LogCaptureFixture) -> None:
    executor = cluster.executor()
    with caplog.at_level(logging.INFO, logger="nel_action"):
        for state in ("PENDING", "PENDING", "RUNNING"):
            cluster.set_queue(queue_row(state, "Priority"))
            executor.poll([attempt])
    assert [record.getMessage() for record in caplog.records] == [
        f"{KEY}-1, Slurm job 7: pending (Priority)",
        f"{KEY}-1, Slurm job 7: running",
    ]


def test_poll_reports_a_silent_controller_as_unknown(cluster: StubCluster, attempt: Attempt) -> None:
    cluster.set_controller(up=False)
    status = cluster.executor().poll([attempt])[KEY]
    assert status.state is JobState.UNKNOWN
    assert "the Slurm controller does not answer: slurm_load_jobs error" in (status.detail or "")


def test_submit_is_idempotent(cluster: StubCluster, tmp_path: Path) -> None:
    job = shell_job(tmp_path)
    executor = cluster.executor()
    first = executor.submit(job, 1, "0" * 16)
    assert first.backend_id == "4711"
    assert cluster.executor().submit(job, 1, "1" * 16).backend_id == "4711"
    assert len(cluster.calls("sbatch")) == 1
    assert executor.find([job.key])[job.key].backend_id == "4711"


def test_submit_repeats_an_sbatch_whose_answer_was_lost(
    cluster: StubCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "SUBMIT_BACKOFF", Backoff(initial=0.01, factor=1, jitter=0))
    monkeypatch.setattr(submission, "TRIES", 3)
    cluster.set_sbatch_error("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    with pytest.raises(UnreachableError, match=r"cannot tell whether .* was submitted on this login node"):
        cluster.executor().submit(shell_job(tmp_path), 1, "0" * 16)
    assert len(cluster.calls("sbatch")) == 1, "the intent is valid for another 30 seconds"


def test_submit_reports_a_rejection_with_its_hint(cluster: StubCluster, tmp_path: Path) -> None:
    cluster.set_sbatch_error("sbatch: error: Batch job submission failed: Invalid qos specification")
    job = shell_job(tmp_path)
    with pytest.raises(ExecutorError, match="Slurm rejects the job: Invalid qos specification") as raised:
        cluster.executor().submit(job, 1, "0" * 16)
    assert "check execution.qos" in str(raised.value)
    cluster.set_sbatch_error("")
    assert cluster.executor().submit(job, 1, "0" * 16).backend_id == "4711"


def test_find_raises_while_the_controller_is_down(cluster: StubCluster) -> None:
    cluster.set_controller(up=False)
    with pytest.raises(ControllerDownError, match="nothing was submitted"):
        cluster.executor().find([KEY])


def test_announced_attempts_are_listed_with_one_command(cluster: StubCluster, tmp_path: Path) -> None:
    attempts = [Attempt(key=Key(f"nel-{number:016x}"), number=1, backend_id=str(number)) for number in range(1, 5)]
    for each in attempts[:3]:
        directory = cluster.output_dir / f"{each.key}-1"
        for name, text in (("run/artifacts/a.json", "{}"), ("logs/client.log", "text\n"), (".secrets.env", "x")):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
    record = {"job": "1", "status": 0, "reason": "", "began": 1, "ended": 2, "files": 1, "bytes": 2}
    (cluster.output_dir / f"{attempts[0].key}-1/state").mkdir()
    (cluster.output_dir / f"{attempts[0].key}-1/state/exit.json").write_text(f"{json.dumps(record)}\n")
    executor = cluster.executor()
    executor.expect_collection(attempts)
    for number, each in enumerate(attempts[:3]):
        executor.collect(each, tmp_path / str(number))
        assert (tmp_path / f"{number}/artifacts/a.json").read_text() == "{}"
        assert (tmp_path / f"{number}/logs/client.log").read_text() == "text\n"
    assert executor.remote.round_trips == 1
    assert not (cluster.output_dir / f"{attempts[0].key}-1/.secrets.env").exists()
    assert (cluster.output_dir / f"{attempts[1].key}-1/.secrets.env").exists(), "the attempt has not finished"
    with pytest.raises(CollectError, match="cannot read"):
        executor.collect(attempts[3], tmp_path / "3")


def test_file_that_changed_after_it_was_listed_is_listed_again(cluster: StubCluster, tmp_path: Path) -> None:
    attempts = [Attempt(key=Key(f"nel-{number:016x}"), number=1, backend_id=str(number)) for number in (1, 2)]
    for each in attempts:
        (cluster.output_dir / f"{each.key}-1/logs").mkdir(parents=True)
        (cluster.output_dir / f"{each.key}-1/logs/client.log").write_text("one\n")
    executor = cluster.executor()
    executor.expect_collection(attempts)
    executor.collect(attempts[0], tmp_path / "0")
    (cluster.output_dir / f"{attempts[1].key}-1/logs/client.log").write_text("another\n")
    executor.collect(attempts[1], tmp_path / "1")
    assert (tmp_path / "1/logs/client.log").read_text() == "another\n"
    assert executor.remote.round_trips == 2
