"""Submission with randomly cut connections and concurrent submitters: each job runs exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import GOOD, shell_job
from tests.support.slurm.relay import Relay
from tests.support.slurm.sshd import Sshd
from tests.support.slurm.waiting import until_final

from nel_action.errors import UnreachableError
from nel_action.executors.slurm import submission
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.executors.slurm.shell import template
from nel_action.model.job import Attempt, JobState
from nel_action.planning.jobs import Job

COUNTED = 'echo "$NEL_TASK" >> "$(dirname "$NEL_OUTPUT_DIR")/../../ran"\n' + GOOD


def counted_job(folder: Path) -> Job:
    return shell_job(folder, COUNTED, name=f"t{os.urandom(4).hex()}")


def find_or_submit(executor: SlurmExecutor, job: Job) -> Attempt:
    """Submit a job unless it exists, as the lifecycle does."""
    attempts = executor.find([job.key])
    return attempts.get(job.key) or executor.submit(job, 1, "0" * 16)


def find_or_submit_with_retries(executor: SlurmExecutor, job: Job) -> Attempt:
    for _ in range(50):
        try:
            return find_or_submit(executor, job)
        except UnreachableError:
            continue
    raise AssertionError


def jobs_of(cluster: Cluster, job: Job) -> list[str]:
    return cluster.run("squeue", "-h", "-t", "all", "-n", f"{job.key}-1", "-o", "%i").split()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cause", ["network", "server"])
def test_jobs_run_once_although_connections_are_cut(
    on_light: MakeExecutor,
    light: Cluster,
    light_sshd: Sshd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
) -> None:
    rounds, lost = 31, 0
    generator = random.Random(20_261_122)  # noqa: S311 reproducible times
    jobs = [counted_job(tmp_path) for _ in range(rounds)]
    with Relay(light_sshd.port) as relay:
        fields = {"port": relay.port, "known_hosts": light_sshd.known_hosts_line("127.0.0.1", relay.port)}
        output = light.scratch / f"cut-{cause}"
        first = on_light(output_dir=str(output), **fields)
        first.remote.run(["true"])
        span = duration(lambda: find_or_submit_with_retries(first, jobs[0]))
        for number, job in enumerate(jobs[1:]):
            # NOTE: every other submitter gives up after the first lost answer; the next one starts afresh.
            monkeypatch.setattr(submission, "TRIES", 1 if number % 2 else 20)
            executor = on_light(output_dir=str(output), outage_timeout=0, **fields)
            executor.remote.run(["true"])

            def cut(after: float = generator.uniform(0, span)) -> None:
                time.sleep(after)
                relay.cut() if cause == "network" else light_sshd.signal_all(signal.SIGKILL, listener=False)

            thread = threading.Thread(target=cut)
            thread.start()
            try:
                executor.submit(job, 1, "0" * 16)
            except UnreachableError:
                lost += 1
            thread.join()
            attempt = find_or_submit_with_retries(executor, job)
            assert jobs_of(light, job) == [attempt.backend_id]
            executor.close()
        executor = on_light(output_dir=str(output))
        for job in jobs:
            assert until_final(executor, find_or_submit_with_retries(executor, job)).state is JobState.SUCCEEDED
    assert Counter((output / "ran").read_text().split()) == Counter(job.task.name for job in jobs)
    assert lost, "no answer was lost: the times of the cuts were badly chosen"


def duration(work: Callable[[], object]) -> float:
    """Return how many seconds a call takes, as the range of random times to interrupt it."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def test_concurrent_submitters_create_one_job(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    job = counted_job(tmp_path)
    output = str(light.scratch / f"crowd-{os.urandom(3).hex()}")
    attempts: list[Attempt] = []
    executors = [on_light(output_dir=output) for _ in range(10)]

    def submit(executor: SlurmExecutor) -> None:
        attempts.append(find_or_submit_with_retries(executor, job))

    threads = [threading.Thread(target=submit, args=(executor,)) for executor in executors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({attempt.backend_id for attempt in attempts}) == 1
    assert jobs_of(light, job) == [attempts[0].backend_id]
    assert until_final(executors[0], attempts[0]).state is JobState.SUCCEEDED
    assert (Path(output) / "ran").read_text().split() == [job.task.name]


def test_submission_survives_the_loss_of_its_caller_during_sbatch(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow sbatch continues without its caller, and the next submitter waits for it."""
    programs = light.scratch / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "sbatch").write_text('#!/bin/sh\nsleep 3\nexec /usr/bin/sbatch "$@"\n')
    (programs / "sbatch").chmod(0o755)
    monkeypatch.setattr(submission, "TRIES", 1)
    job = counted_job(tmp_path)
    first = on_light(bin_dir=str(programs), output_dir=str(light.scratch / "slow"), outage_timeout=0)
    first.remote.run(["true"])
    threading.Timer(1, first.close).start()
    with pytest.raises(UnreachableError):
        first.submit(job, 1, "0" * 16)
    second = on_light(bin_dir=str(programs), output_dir=str(light.scratch / "slow"))
    attempt = find_or_submit_with_retries(second, job)
    assert jobs_of(light, job) == [attempt.backend_id]


def test_duplicate_job_does_nothing(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(output_dir=str(light.scratch / "twice"), sbatch_extra_flags={"hold": True})
    job = counted_job(tmp_path)
    attempt = executor.submit(job, 1, "0" * 16)
    script = f"{executor.describe(attempt)['directory']}/sbatch_{job.name}.sh"
    (result,) = executor.remote.run(["sbatch", "--parsable", script])
    both = [attempt.backend_id, result.text.strip()]
    assert sorted(jobs_of(light, job)) == sorted(both)
    light.run("scontrol", "release", *reversed(both))
    assert until_final(executor, attempt).state is JobState.SUCCEEDED
    wait_until(
        lambda: not light.run("squeue", "-h", "-n", f"{job.key}-1").strip(), seconds=30, what="both jobs to finish"
    )
    assert (light.scratch / "twice/ran").read_text().split() == [job.task.name]
    assert executor.poll([attempt])[attempt.key].state is JobState.SUCCEEDED


def test_finished_job_is_found_and_not_repeated(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    output = str(light.scratch / "again")
    job = counted_job(tmp_path)
    first = on_light(output_dir=output)
    attempt = first.submit(job, 1, "0" * 16)
    until_final(first, attempt)
    light.forget_finished()
    second = on_light(output_dir=output)
    assert second.find([job.key])[job.key].backend_id == attempt.backend_id
    assert second.submit(job, 1, "1" * 16).backend_id == attempt.backend_id
    assert second.poll([attempt])[job.key].state is JobState.SUCCEEDED


def test_truncated_archive_is_not_submitted(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light(output_dir=str(light.scratch / "torn"))
    argv = ["sh", "-c", template("submit.sh"), "submit.sh", str(light.scratch / "torn"), "30"]
    (tmp_path / "list").write_text("nel-0123456789abcdef-1 x.sh\n")
    tar = subprocess.run(["tar", "-c", "-z", "-C", str(tmp_path), "."], capture_output=True, check=True).stdout
    for data in (b"", tar, tar[:600]):
        assert executor.remote.run_once(argv, stdin=data).code == 74
    assert not light.run("squeue", "-h", "-t", "all", "-n", "nel-0123456789abcdef-1").strip()
