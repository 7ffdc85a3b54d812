"""Jobs that are stopped before they are done: continued where that helps, and never run twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import GOOD, shell_job
from tests.support.slurm.waiting import until, until_final, until_running

from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.model.job import Attempt, JobState, Reason

RESUMING = f"""\
count=$(cat "$NEL_OUTPUT_DIR/count" 2>/dev/null || echo 0)
echo "run $((count + 1)) starts at $count" >> "$NEL_OUTPUT_DIR/runs"
first=$(wc -l < "$NEL_OUTPUT_DIR/runs")
until [ "$first" -gt 1 ]; do
    count=$((count + 1))
    echo "$count" > "$NEL_OUTPUT_DIR/count"
    sleep 0.2
done
{GOOD}"""
"""A harness with a cache: it goes on where it was, for ever in its first run and at once in the second."""


def directory(executor: SlurmExecutor, attempt: Attempt) -> Path:
    return Path(executor.describe(attempt)["directory"])


def until_counting(executor: SlurmExecutor, attempt: Attempt) -> None:
    count = directory(executor, attempt) / "run/artifacts/count"
    wait_until(lambda: count.exists() and count.read_text().strip(), seconds=60, what="the harness to count")


def links(cluster: Cluster, attempt: Attempt) -> list[str]:
    name = f"{attempt.key}-{attempt.number}"
    return cluster.run("squeue", "-h", "-t", "all", "-n", name, "-o", "%T", "--sort=i").split()


def assert_continued(executor: SlurmExecutor, attempt: Attempt, seconds: float = 60) -> None:
    status = until_final(executor, attempt, seconds=seconds)
    assert status.state is JobState.SUCCEEDED, status
    first, second = (directory(executor, attempt) / "run/artifacts/runs").read_text().splitlines()
    assert first == "run 1 starts at 0"
    assert second.startswith("run ")
    assert int(second.split()[-1]) > 0
    assert not (directory(executor, attempt) / ".secrets.env").exists()


def test_the_time_limit_is_near(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=3, environ={"KEY": "sk-made-up"})
    attempt = executor.submit(shell_job(tmp_path, RESUMING, env={"KEY": "host:KEY"}), 1, "0" * 16)
    until_counting(executor, attempt)
    light.run("scancel", "-s", "USR1", "-b", attempt.backend_id)
    assert_continued(executor, attempt)
    assert executor.find([attempt.key])[attempt.key].backend_id == attempt.backend_id
    wait_until(lambda: "PENDING" not in links(light, attempt), seconds=20, what="the spare job to go")
    assert links(light, attempt) == ["FAILED", "COMPLETED", "CANCELLED"]


def test_the_time_limit_has_come(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(max_resumes=1, walltime="00:02:00")
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    full.run("scontrol", "update", f"jobid={attempt.backend_id}", "EndTime=now+1")
    assert_continued(executor, attempt, seconds=90)
    assert links(full, attempt) == ["TIMEOUT", "COMPLETED"]


@pytest.mark.parametrize("partition", ["low", "lowcancel"])
def test_other_work_takes_its_place_for_a_while(
    on_full: MakeExecutor, full: Cluster, tmp_path: Path, partition: str
) -> None:
    whole = {"num_nodes": 2, "sbatch_extra_flags": {"exclusive": True}}
    low = on_full(max_resumes=3, partition=partition, **whole)
    attempt = low.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(low, attempt)
    high = on_full(**whole)
    other = high.submit(shell_job(tmp_path, "sleep 5"), 1, "0" * 16)
    status = until(low, attempt, lambda one: one.state is JobState.PENDING)
    assert "continued 1 time" in (status.detail or "")
    until_final(high, other)
    assert_continued(low, attempt)
    assert links(full, attempt)[0] == "PREEMPTED"


def test_its_node_is_lost(
    on_full: MakeExecutor, full: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.script.FENCE", 6)
    executor = on_full(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    node = full.run("squeue", "-h", "-j", attempt.backend_id, "-o", "%N").strip()
    frozen = full.kill_node(node)
    try:
        assert_continued(executor, attempt, seconds=120)
        before = (directory(executor, attempt) / "state/exit.json").read_text()
        logs = "".join(path.read_text() for path in (directory(executor, attempt) / "logs").glob("slurm-*"))
        assert "waiting 6 s for what may still run elsewhere" in logs
    finally:
        full.revive_node(node, frozen)
    assert (directory(executor, attempt) / "state/exit.json").read_text() == before
    assert links(full, attempt)[0] == "NODE_FAIL"


def test_a_copy_that_lost_its_turn_stops_and_says_nothing(
    on_light: MakeExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is when a node that was given up for lost lives on behind a broken network."""
    monkeypatch.setattr("nel_action.executors.slurm.script.FENCE", 3)
    executor = on_light()
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    state = directory(executor, attempt) / "state"
    (state / "turn").write_text("999999\n")
    (log,) = (directory(executor, attempt) / "logs").glob("slurm-*.log")
    wait_until(lambda: "job 999999 has taken over" in log.read_text(), seconds=30, what="it to notice")
    assert not (state / "exit.json").exists()
    count = (directory(executor, attempt) / "run/artifacts/count").read_text()
    time.sleep(1)
    assert (directory(executor, attempt) / "run/artifacts/count").read_text() == count


def test_it_is_not_continued_for_ever(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=2)
    attempt = executor.submit(shell_job(tmp_path, "sleep 600"), 1, "0" * 16)
    for count in range(3):
        wait_until(lambda count=count: starts(executor, attempt) == count + 1, seconds=60, what="a start")  # type: ignore[misc]
        time.sleep(0.5)
        job = (directory(executor, attempt) / "state/turn").read_text().strip()
        light.run("scancel", "-s", "USR1", "-b", job)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert starts(executor, attempt) == 3


def starts(executor: SlurmExecutor, attempt: Attempt) -> int:
    path = directory(executor, attempt) / "state/links"
    return sum(line.startswith("start") for line in path.read_text().splitlines()) if path.exists() else 0


def test_its_whole_time_is_used_up(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=9)
    attempt = executor.submit(shell_job(tmp_path, "sleep 600", timeout=6.0), 1, "0" * 16)
    until_running(executor, attempt)
    wait_until(lambda: starts(executor, attempt) == 1, seconds=60, what="a start")
    time.sleep(3)
    light.run("scancel", "-s", "USR1", "-b", attempt.backend_id)
    status = until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert starts(executor, attempt) == 2


def test_we_cancel_it_and_nobody_continues(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    executor.cancel([attempt])
    assert executor.poll([attempt])[attempt.key].state is JobState.CANCELLED
    time.sleep(2)
    assert set(links(light, attempt)) == {"CANCELLED"}
    assert starts(executor, attempt) == 1


def test_somebody_cancels_one_of_its_jobs_by_hand(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    executor = on_full(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    full.run("scancel", attempt.backend_id)
    assert until_final(executor, attempt).state is JobState.CANCELLED
    assert len((directory(executor, attempt) / "run/artifacts/runs").read_text().splitlines()) == 1


def test_a_harness_that_fails_is_not_continued(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=3)
    attempt = executor.submit(shell_job(tmp_path, "exit 9"), 1, "0" * 16)
    status = until_final(executor, attempt)
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 9)
    wait_until(lambda: "PENDING" not in links(light, attempt), seconds=20, what="the spare job to go")
    assert starts(executor, attempt) == 1


def test_memory_that_ran_out_is_not_tried_again(on_full: MakeExecutor, full: Cluster, tmp_path: Path) -> None:
    if not full.conf.cgroups:
        pytest.skip("no control groups for memory here")
    executor = on_full(max_resumes=3, sbatch_extra_flags={"mem": "80"})
    attempt = executor.submit(shell_job(tmp_path, "python3 -c 'hog = bytearray(300_000_000)'"), 1, "0" * 16)
    assert until_final(executor, attempt).reason is Reason.OUT_OF_MEMORY
    assert starts(executor, attempt) == 1


def test_an_administrator_queues_it_again(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(max_resumes=2)
    attempt = executor.submit(shell_job(tmp_path, RESUMING), 1, "0" * 16)
    until_counting(executor, attempt)
    light.run("scontrol", "update", f"jobid={attempt.backend_id}", "Requeue=1")
    light.run("scontrol", "requeue", attempt.backend_id)
    assert_continued(executor, attempt)
    light.run("scontrol", "requeue", attempt.backend_id, check=False)
    time.sleep(3)
    wait_until(lambda: executor.poll([attempt])[attempt.key].state.final, seconds=60, what="it to end again")
    assert executor.poll([attempt])[attempt.key].state is JobState.SUCCEEDED
    assert len((directory(executor, attempt) / "run/artifacts/runs").read_text().splitlines()) == 2
