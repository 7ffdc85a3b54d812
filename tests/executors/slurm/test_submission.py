"""Submission of many attempts with stub programs of Slurm; integration tests use a real cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.stub_cluster import StubCluster

from nel_action.errors import ExecutorError, SecretError, UnreachableError
from nel_action.executors.slurm import submission
from nel_action.executors.slurm.submission import rejection_hint
from nel_action.model.job import Attempt, attempt_name
from nel_action.planning.jobs import Job
from nel_action.retry import Backoff

pytestmark = pytest.mark.slow

INVOCATION = "0" * 16


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "SUBMIT_BACKOFF", Backoff(initial=0.01, maximum=0.01))
    monkeypatch.setattr(submission, "TRIES", 2)


@pytest.fixture
def cluster(tmp_path: Path) -> StubCluster:
    return StubCluster(tmp_path / "cluster")


@pytest.fixture
def jobs(tmp_path: Path) -> list[tuple[Job, int]]:
    return [(shell_job(tmp_path), 1) for _ in range(8)]


def test_submit_many_uses_one_command_for_all_jobs(cluster: StubCluster, tmp_path: Path) -> None:
    """More jobs than the script looks up together."""
    jobs = [(shell_job(tmp_path), 1) for _ in range(55)]
    executor = cluster.executor()
    outcomes = executor.submit_many(jobs, INVOCATION)
    assert executor.remote.round_trips == 1
    assert len(cluster.calls("sbatch")) == len(jobs)
    ids = {outcome.backend_id for outcome in outcomes.values() if isinstance(outcome, Attempt)}
    assert len(ids) == len(jobs)
    first = cluster.output_dir / attempt_name(jobs[0][0].key, 1)
    assert (first / "run/task/run.sh").is_file()
    assert (first / ".secrets.env").stat().st_mode & 0o777 == 0o600
    assert not (first / "state/intent").exists()
    assert not list(cluster.output_dir.glob(".nel-incoming-*"))


def test_submit_many_again_submits_nothing(cluster: StubCluster, jobs: list[tuple[Job, int]]) -> None:
    outcomes = cluster.executor().submit_many(jobs, INVOCATION)
    assert cluster.executor().submit_many(jobs, INVOCATION) == outcomes
    assert len(cluster.calls("sbatch")) == len(jobs)


def test_submit_many_finds_jobs_whose_answers_were_lost(cluster: StubCluster, jobs: list[tuple[Job, int]]) -> None:
    outcomes = cluster.executor().submit_many(jobs, INVOCATION)
    for job, number in jobs:
        (cluster.output_dir / attempt_name(job.key, number) / "state/submitted").unlink()
    assert cluster.executor().submit_many(jobs, INVOCATION) == outcomes
    assert len(cluster.calls("sbatch")) == len(jobs)


def test_submit_many_stops_at_a_limit_on_queued_jobs(cluster: StubCluster, jobs: list[tuple[Job, int]]) -> None:
    cluster.set_submit_limit(3)
    outcomes = list(cluster.executor().submit_many(jobs, INVOCATION).values())
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Attempt"] * 3 + ["QueueFullError"] * 5
    assert len(cluster.calls("sbatch")) == 4, "further calls would only be rejected"
    assert "AssocMaxSubmitJobLimit; Job violates accounting/QOS policy" in str(outcomes[-1])
    for (job, number), outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, Attempt):
            continue
        assert not (cluster.output_dir / attempt_name(job.key, number) / ".secrets.env").exists()
    cluster.set_submit_limit(1000)
    again = cluster.executor().submit_many(jobs, INVOCATION).values()
    assert all(isinstance(outcome, Attempt) for outcome in again)
    assert len(cluster.calls("sbatch")) == 4 + 5


def test_limit_of_zero_jobs_is_a_rejection(cluster: StubCluster, jobs: list[tuple[Job, int]]) -> None:
    """Some sites limit the default account to no jobs, so that users name another one."""
    cluster.set_submit_limit(0)
    (outcome,) = cluster.executor().submit_many(jobs[:1], INVOCATION).values()
    assert type(outcome) is ExecutorError
    assert "execution.account" in str(outcome)


def test_submit_many_reports_each_rejection(cluster: StubCluster, jobs: list[tuple[Job, int]]) -> None:
    cluster.set_sbatch_error("sbatch: error: Batch job submission failed: Invalid account or account/partition\n")
    outcomes = cluster.executor().submit_many(jobs[:3], INVOCATION).values()
    for outcome in outcomes:
        assert type(outcome) is ExecutorError
        assert "Slurm rejects the job: Invalid account or account/partition" in str(outcome)
        assert "execution.account" in str(outcome)
    assert len(cluster.calls("sbatch")) == 3


def test_submit_many_keeps_an_intent_whose_outcome_is_unknown(
    cluster: StubCluster, jobs: list[tuple[Job, int]]
) -> None:
    cluster.set_sbatch_error("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n")
    outcomes = list(cluster.executor().submit_many(jobs[:3], INVOCATION).values())
    assert all(isinstance(outcome, UnreachableError) for outcome in outcomes)
    assert "Socket timed out" in str(outcomes[0])
    intents = [(cluster.output_dir / attempt_name(job.key, 1) / "state/intent").exists() for job, _ in jobs[:3]]
    assert intents == [True, True, True]


def test_submit_many_submits_nothing_while_the_controller_is_down(
    cluster: StubCluster, jobs: list[tuple[Job, int]]
) -> None:
    cluster.set_controller(up=False)
    outcomes = cluster.executor().submit_many(jobs[:2], INVOCATION).values()
    assert all("Unable to contact slurm controller" in str(outcome) for outcome in outcomes)
    cluster.set_controller(up=True)
    assert all(isinstance(each, Attempt) for each in cluster.executor().submit_many(jobs[:2], INVOCATION).values())
    assert len(cluster.calls("sbatch")) == 2


def test_submission_continues_after_its_caller_closed_the_connection(
    cluster: StubCluster, jobs: list[tuple[Job, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that cannot be written must not let the script go on to submit a job that exists."""
    executor = cluster.executor()
    sent: list[tuple[list[str], bytes]] = []
    run = executor.remote._transport.run

    def record(argv: list[str], *, stdin: bytes, seconds: float) -> object:
        sent.append((argv, stdin))
        return run(argv, stdin=stdin, seconds=seconds)

    monkeypatch.setattr(executor.remote._transport, "run", record)
    executor.submit_many(jobs[:5], INVOCATION)
    for job, number in jobs[:2]:
        (cluster.output_dir / attempt_name(job.key, number) / "state/submitted").unlink()
    argv, stdin = sent[0]
    with Path("/dev/full").open("w") as full:
        subprocess.run(argv, input=stdin, stdout=full, stderr=full, env={"PATH": "/usr/bin:/bin"}, check=False)
    assert len(cluster.calls("sbatch")) == 5


def test_unset_variable_prevents_the_whole_submission(cluster: StubCluster, tmp_path: Path) -> None:
    jobs = [(shell_job(tmp_path), 1), (shell_job(tmp_path, env={"KEY": "host:NOT_SET"}), 1)]
    with pytest.raises(SecretError, match="NOT_SET"):
        cluster.executor().submit_many(jobs, INVOCATION)
    assert cluster.calls("sbatch") == []


@pytest.mark.parametrize(
    ("cause", "key"),
    [
        ("Invalid account or account/partition combination specified", "execution.account"),
        ("Invalid partition name specified", "execution.partition"),
        ("Invalid qos specification", "execution.qos"),
        ("QOSMaxWallDurationPerJobLimit", "execution.qos"),
        ("AssocMaxSubmitJobLimit; Job violates accounting/QOS policy (job submit limit)", "execution.account"),
    ],
)
def test_rejection_hint_names_the_setting(cause: str, key: str) -> None:
    assert key in (rejection_hint(cause) or "")
