"""Jobs from submission to results, on a real cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.waiting import until, until_final, until_running

from nel_action.executors.interface import find_attempts
from nel_action.model.job import JobState, Reason
from nel_action.model.task import Progress


def test_job_runs_and_its_results_are_collected(on_light: MakeExecutor, tmp_path: Path) -> None:
    executor = on_light()
    job = shell_job(tmp_path)
    attempt = executor.submit(job, 1, "0123456789abcdef")
    status = until_final(executor, attempt)
    assert (status.state, status.exit_code) == (JobState.SUCCEEDED, 0)
    assert status.started
    assert status.ended
    executor.collect(attempt, tmp_path / "collected")
    assert '"accuracy"' in (tmp_path / "collected/artifacts/scores.json").read_text()
    assert "evaluating acme-7b" in (tmp_path / "collected/logs/client.log").read_text()
    assert list(executor.logs(attempt, follow=False)) == ["evaluating acme-7b"]
    assert executor.find([job.key]) == {job.key: executor.find([job.key])[job.key]}
    assert executor.find([job.key])[job.key].backend_id == attempt.backend_id


def test_exit_status_is_that_of_the_harness(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light()
    attempt = executor.submit(shell_job(tmp_path, "exit 7"), 1, "0" * 16)
    status = until_final(executor, attempt)
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 7)
    assert "ExitCode=7:0" in light.run("scontrol", "-o", "show", "job", attempt.backend_id)


def test_progress_of_running_jobs_is_polled(on_light: MakeExecutor, tmp_path: Path) -> None:
    executor = on_light()
    text = """echo '{"done": 3, "total": 10}' > "$NEL_OUTPUT_DIR/progress.json"; sleep 600"""
    first, second = (executor.submit(shell_job(tmp_path, script), 1, "0" * 16) for script in (text, "sleep 600"))
    until(executor, first, lambda status: status.progress == Progress(3, 10))
    until_running(executor, second)
    before = executor.remote.round_trips
    statuses = executor.poll([first, second])
    assert executor.remote.round_trips - before == 2
    assert [statuses[each.key].progress for each in (first, second)] == [Progress(3, 10), None]
    executor.cancel([first, second])
    assert executor.poll([first])[first.key].progress is None


def test_sweep_removes_only_expired_secrets_and_directories(
    on_light: MakeExecutor, light: Cluster, tmp_path: Path
) -> None:
    output = light.scratch / f"swept-{os.urandom(3).hex()}"
    first = on_light(output_dir=str(output), environ={"KEY": "sk-made-up"})
    names = ("old", "requested", "young", "killed", "held")
    jobs = {name: shell_job(tmp_path, env={"KEY": "host:KEY"}) for name in names}
    held = on_light(output_dir=str(output), environ={"KEY": "sk-made-up"}, sbatch_extra_flags={"hold": True})
    attempts = {name: (held if name == "held" else first).submit(job, 1, "0" * 16) for name, job in jobs.items()}
    directories = {name: Path(first.describe(attempt)["directory"]) for name, attempt in attempts.items()}
    for name in ("old", "requested", "young", "killed"):
        until_final(first, attempts[name])
    (directories["killed"] / "state/exit.json").unlink()
    for name in ("killed", "held"):
        (directories[name] / ".secrets.env").write_text("never read\n")
        os.chown(directories[name] / ".secrets.env", light.user.pw_uid, light.user.pw_gid)
        age(directories[name] / ".secrets.env", days=1)
    for name in ("old", "requested"):
        age(directories[name] / "state/exit.json", days=9)
    foreign = output / "nel-not-ours-1/state/exit.json"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    age(foreign, days=99)
    wait_until(
        lambda: set(light.run("squeue", "-h", "-o", "%T").split()) == {"PENDING"},
        seconds=60,
        what="the other jobs to finish",
    )

    find_attempts(on_light(output_dir=str(output), keep_days=30), [jobs["requested"].key])
    assert directories["old"].exists()
    assert not (directories["killed"] / ".secrets.env").exists()
    assert (directories["held"] / ".secrets.env").exists(), "its job has not read it yet"
    attempts_by_key = find_attempts(on_light(output_dir=str(output), keep_days=7), [jobs["requested"].key])
    assert list(attempts_by_key) == [jobs["requested"].key]
    remaining = {name for name, path in directories.items() if path.exists()}
    assert remaining == {"requested", "young", "killed", "held"}
    assert foreign.exists()
    assert sorted(path.name for path in output.iterdir() if path.name.startswith(".")) == []


def age(path: Path, *, days: int) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
