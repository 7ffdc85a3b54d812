"""From submission to results, on a real cluster."""

from __future__ import annotations

from pathlib import Path

from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.waiting import until_final

from nel_action.executors.interface import JobState, Reason


def test_a_job_runs_and_its_results_come_home(on_light: MakeExecutor, tmp_path: Path) -> None:
    executor = on_light()
    job = shell_job(tmp_path)
    attempt = executor.submit(job, 1, "0123456789abcdef")
    status = until_final(executor, attempt)
    assert (status.state, status.exit_code) == (JobState.SUCCEEDED, 0)
    assert status.started
    assert status.ended
    executor.collect(attempt, tmp_path / "home")
    assert '"accuracy"' in (tmp_path / "home/artifacts/scores.json").read_text()
    assert "evaluating acme-7b" in (tmp_path / "home/logs/client.log").read_text()
    assert list(executor.logs(attempt, follow=False)) == ["evaluating acme-7b"]
    assert executor.find([job.key]) == {job.key: executor.find([job.key])[job.key]}
    assert executor.find([job.key])[job.key].backend_id == attempt.backend_id


def test_the_exit_status_is_the_evaluation_s(on_light: MakeExecutor, light: Cluster, tmp_path: Path) -> None:
    executor = on_light()
    attempt = executor.submit(shell_job(tmp_path, "exit 7"), 1, "0" * 16)
    status = until_final(executor, attempt)
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.HARNESS, 7)
    assert "ExitCode=7:0" in light.run("scontrol", "-o", "show", "job", attempt.backend_id)
