"""Continuation of jobs that were stopped early: where it helps, and never twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import GOOD, shell_job
from tests.support.slurm.waiting import until, until_final

from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, Reason

RESUMING = f"""\
count=$(cat "$NEL_OUTPUT_DIR/count" 2>/dev/null || echo 0)
echo "run $((count + 1)) starts at $count" >> "$NEL_OUTPUT_DIR/runs"
first=$(wc -l < "$NEL_OUTPUT_DIR/runs")
until [ "$first" -gt 1 ]; do
    count=$((count + 1))
    echo "$count" > "$NEL_OUTPUT_DIR/next" && mv "$NEL_OUTPUT_DIR/next" "$NEL_OUTPUT_DIR/count"
    sleep 0.2
done
{GOOD}"""
"""A harness with a cache: its first run counts for ever, its second run continues at the count and succeeds."""

ENDLESS = """\
echo started >> "$NEL_OUTPUT_DIR/runs"
count=0
while sleep 0.2; do count=$((count + 1)); echo "$count" > "$NEL_OUTPUT_DIR/count"; done
"""
"""A harness that records its starts and then counts for ever."""


def directory(executor: SlurmExecutor, attempt: Attempt) -> Path:
    return Path(executor.describe(attempt)["directory"])


def count_of(executor: SlurmExecutor, attempt: Attempt) -> int:
    path = directory(executor, attempt) / "run/artifacts/count"
    return int(path.read_text().strip() or 0) if path.exists() else 0


def runs_of(executor: SlurmExecutor, attempt: Attempt) -> list[str]:
    """Return one line per start of the harness."""
    path = directory(executor, attempt) / "run/artifacts/runs"
    return path.read_text().splitlines() if path.exists() else []


def starts_of(executor: SlurmExecutor, attempt: Attempt) -> int:
    """Return the number of jobs that have started."""
    path = directory(executor, attempt) / "state/links"
    return sum(line.startswith("start") for line in path.read_text().splitlines()) if path.exists() else 0


def logs_of(executor: SlurmExecutor, attempt: Attempt) -> str:
    return "".join(path.read_text() for path in (directory(executor, attempt) / "logs").glob("slurm-*.log"))


def until_counting(executor: SlurmExecutor, attempt: Attempt, count: int = 1) -> None:
    wait_until(lambda: count_of(executor, attempt) >= count, seconds=60, what="the harness to count")


def states_of(cluster: Cluster, attempt: Attempt) -> list[str]:
    """Return the states of an attempt's jobs, in the order of their IDs."""
    name = f"{attempt.key}-{attempt.number}"
    return cluster.run("squeue", "-h", "-t", "all", "-n", name, "-o", "%T", "--sort=i").split()


def assert_continued(executor: SlurmExecutor, attempt: Attempt, seconds: float = 60) -> None:
    status = until_final(executor, attempt, seconds=seconds)
    assert status.state is JobState.SUCCEEDED, status
    first, second = runs_of(executor, attempt)
    assert first == "run 1 starts at 0"
    assert second.startswith("run ")
    assert int(second.split()[-1]) > 0
    assert not (directory(executor, attempt) / ".secrets.env").exists()


def test_job_is_continued_after_the_time_limit_warning(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=3, environ={"KEY": "sk-made-up"})
    attempt = executor.submit(shell_job(tmp_path, RESUMING, env={"KEY": "host:KEY"}), 1, "0" * 16)
    until_counting(executor, attempt)
    light.run("scancel", "-s", "USR1", "-b", attempt.backend_id)
    assert_continued(executor, attempt)
    assert executor.find([attempt.key])[attempt.key].backend_id == attempt.backend_id
    wait_until(lambda: "PENDING" not in states_of(light, attempt), seconds=20, what="the continuation's cancellation")
    assert states_of(light, attempt) == ["FAILED", "COMPLETED", "CANCELLED"]


def test_job_is_continued_after_the_time_limit(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(max_resumes=1, walltime="00:02:00")
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    full.run("scontrol", "update", f"jobid={attempt.backend_id}", "EndTime=now+1")
    assert_continued(executor, attempt, seconds=90)
    assert states_of(full, attempt) == ["TIMEOUT", "COMPLETED"]


@pytest.mark.parametrize("partition", ["low", "lowcancel"])
def test_job_is_continued_after_preemption(
    on_full: MakeExecutor, full: Cluster, tmp_path: Path, partition: str
) -> None:
    all_nodes = {"num_nodes": 2, "sbatch_extra_flags": {"exclusive": True}}
    low = on_full(max_resumes=3, partition=partition, **all_nodes)
    attempt = low.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(low, attempt)
    high = on_full(**all_nodes)
    preempting = high.submit(shell_job(tmp_path, "sleep 5"), 1, "0" * 16)
    status = until(low, attempt, lambda status: status.state is JobState.PENDING)
    assert "continued 1 time" in (status.detail or "")
    until_final(high, preempting)
    assert_continued(low, attempt)
    assert states_of(full, attempt)[0] == "PREEMPTED"


def test_job_is_continued_after_the_loss_of_its_node(
    on_full: MakeExecutor, full: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.script.FENCE_SECONDS", 6)
    executor = on_full(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    node = full.run("squeue", "-h", "-j", attempt.backend_id, "-o", "%N").strip()
    frozen = full.kill_node(node)
    try:
        assert_continued(executor, attempt, seconds=120)
        record = (directory(executor, attempt) / "state/exit.json").read_text()
        assert "waiting 6 s for the previous job to stop" in logs_of(executor, attempt)
    finally:
        full.revive_node(node, frozen)
    assert (directory(executor, attempt) / "state/exit.json").read_text() == record
    assert states_of(full, attempt)[0] == "NODE_FAIL"


def test_replaced_job_stops_without_an_exit_record(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the loss of a node that keeps running behind a broken network."""
    monkeypatch.setattr("nel_action.executors.slurm.script.FENCE_SECONDS", 3)
    executor = on_light()
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    state = directory(executor, attempt) / "state"
    (state / "turn").write_text("999999\n")
    wait_until(lambda: "job 999999 has taken over" in logs_of(executor, attempt), seconds=30, what="the job to notice")
    assert not (state / "exit.json").exists()
    count = count_of(executor, attempt)
    wait_until(lambda: states_of(light, attempt) == ["FAILED"], seconds=30, what="the job to exit")
    assert count_of(executor, attempt) == count
    assert not (state / "exit.json").exists()


def test_number_of_continuations_is_limited(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=2)
    attempt = executor.submit(shell_job(tmp_path, ENDLESS), 1, "0" * 16)
    for number in range(1, 4):
        wait_until(lambda n=number: len(runs_of(executor, attempt)) == n, seconds=60, what="a start")  # type: ignore[misc]
        job = (directory(executor, attempt) / "state/turn").read_text().strip()
        light.run("scancel", "-s", "USR1", "-b", job)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert starts_of(executor, attempt) == 3


def test_timeout_counts_the_time_of_all_jobs(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=9)
    attempt = executor.submit(shell_job(tmp_path, ENDLESS, timeout=6.0), 1, "0" * 16)
    until_counting(executor, attempt, count=10)
    light.run("scancel", "-s", "USR1", "-b", attempt.backend_id)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert starts_of(executor, attempt) == 2


def test_cancelled_attempt_is_not_continued(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.CANCELLED
    wait_until(lambda: set(states_of(light, attempt)) == {"CANCELLED"}, seconds=30, what="all jobs to be cancelled")
    assert starts_of(executor, attempt) == 1


def test_job_cancelled_with_scancel_is_not_continued(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    full.run("scancel", attempt.backend_id)
    assert until_final(executor, attempt).state is JobState.CANCELLED
    assert len(runs_of(executor, attempt)) == 1


def test_failed_harness_is_not_continued(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, "exit 9"), 1, "0" * 16)
    status = until_final(executor, attempt)
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 9)
    wait_until(lambda: "PENDING" not in states_of(light, attempt), seconds=20, what="the continuation's cancellation")
    assert starts_of(executor, attempt) == 1


def test_job_out_of_memory_is_not_continued(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    if not full.conf.cgroups:
        pytest.skip("no control groups for memory on this machine")
    executor = on_full(max_resumes=3, sbatch_extra_flags={"mem": "80"})
    attempt = executor.submit(shell_job(tmp_path, "python3 -c 'hog = bytearray(300_000_000)'"), 1, "0" * 16)
    assert until_final(executor, attempt).reason is Reason.OUT_OF_MEMORY
    assert starts_of(executor, attempt) == 1


def test_requeued_job_resumes_and_never_repeats(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=2)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    light.run("scontrol", "update", f"jobid={attempt.backend_id}", "Requeue=1")
    light.run("scontrol", "requeue", attempt.backend_id)
    assert_continued(executor, attempt)
    light.run("scontrol", "requeue", attempt.backend_id)
    wait_until(lambda: "already finished" in logs_of(executor, attempt), seconds=60, what="the requeued job to start")
    wait_until(lambda: executor.poll([attempt])[attempt.key].state.final, seconds=60, what="the requeued job to exit")
    assert executor.poll([attempt])[attempt.key].state is JobState.SUCCEEDED
    assert len(runs_of(executor, attempt)) == 2


def test_job_is_queued_again_if_its_continuation_was_refused(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path
) -> None:
    """A limit on submitted jobs refuses continuations, which count as jobs of their own."""
    programs = light.scratch / "limited"
    programs.mkdir(exist_ok=True)
    refuse = "echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1"
    (programs / "sbatch").write_text(
        f'#!/bin/sh\n[ -z "$SLURM_JOB_ID" ] || {{ {refuse}; }}\nexec /usr/bin/sbatch "$@"\n'
    )
    (programs / "sbatch").chmod(0o755)
    executor = on_light(max_resumes=2, bin_dir=str(programs))
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    light.run("scancel", "-b", "-s", "USR1", attempt.backend_id)
    assert_continued(executor, attempt, seconds=120)
    assert states_of(light, attempt) == ["COMPLETED"]
    assert "AssocMaxSubmitJobLimit" in logs_of(executor, attempt)
    assert "nel-action: start 2 of this attempt" in (directory(executor, attempt) / "logs/client.log").read_text()
