"""Checks of a plan against a real cluster, before anything is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.project import ClusterProject
from tests.support.slurm.sshd import Sshd
from tests.support.slurm.waiting import until_final

from nel_action.errors import Problem
from nel_action.executors.slurm.check import check
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.model.job import JobState


def problems(executor: SlurmExecutor, folder: Path) -> list[Problem]:
    return check(executor.remote, executor._settings, [SlurmJob(shell_job(folder), 1, executor._settings)])


def test_check_accepts_a_valid_plan(on_light: MakeExecutor, tmp_path: Path) -> None:
    assert problems(on_light(), tmp_path) == []


@pytest.mark.parametrize(
    ("fields", "message", "setting"),
    [
        ({"partition": "nowhere"}, "unknown partition 'nowhere'", "the cluster has"),
        ({"partition": "small", "walltime": "01:00:00"}, "exceeds the limit of partition small", "execution.walltime"),
        ({"partition": "small", "num_nodes": 2}, "2 nodes exceed the limit of partition small", "execution.num_nodes"),
        ({"num_nodes": 9}, "9 nodes exceed the limit of partition main (2)", "execution.num_nodes"),
        ({"gres": "gpu:99"}, "Requested node configuration is not available", "num_nodes, gres"),
        ({"sbatch_extra_flags": {"constraint": "h100"}}, "Invalid feature", "execution.sbatch_extra_flags"),
        ({"output_dir": "/proc/nobody"}, "cannot write to /proc/nobody", "execution.output_dir"),
        ({"mounts": {"evaluation": {"/data/none": "/data"}}}, "path not found: /data/none on", "login node"),
        ({"environment": {"path": "/usr"}, "runtime": "pyxis"}, "pyxis is not installed", "execution.runtime"),
    ],
)
def test_check_reports_the_problem_and_its_setting(
    on_light: MakeExecutor, tmp_path: Path, fields: dict[str, object], message: str, setting: str
) -> None:
    reported = problems(on_light(**fields), tmp_path)
    matching = [problem for problem in reported if message in problem.message]
    assert len(matching) == 1, reported
    assert setting in (matching[0].hint or "")


def test_run_reports_the_location_of_the_setting(light: Cluster, light_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(
        tmp_path / "p",
        tasks=("one",),
        cluster=light,
        sshd=light_sshd,
        more={"partition": "small", "walltime": "9:00:00"},
    )
    spec = project.folder / "spec.yaml"
    spec.write_text(spec.read_text().replace('"walltime"', '\n"walltime"'))
    result = project.run()
    assert result.returncode == 2
    assert "spec.yaml:2:1: walltime 9:00:00 exceeds the limit of partition small (00:30:00)" in result.stderr
    assert "Traceback" not in result.stderr
    assert not project.runs


@contextmanager
def unavailable(light: Cluster, kind: str) -> Iterator[None]:
    """Drain all nodes, or reserve them for maintenance."""
    if kind == "drained":
        light.run("scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=test")
    else:
        fields = ("StartTime=now", "Duration=60", "Users=root", "Flags=MAINT,IGNORE_JOBS", "Nodes=ALL")
        light.run("scontrol", "create", "reservation", "ReservationName=maintenance", *fields)
    try:
        yield
    finally:
        if kind == "drained":
            light.run("scontrol", "update", "NodeName=ALL", "State=RESUME")
        else:
            light.run("scontrol", "delete", "ReservationName=maintenance")


@pytest.mark.parametrize("kind", ["drained", "reserved"])
def test_job_waits_for_unavailable_nodes(on_light: MakeExecutor, light: Cluster, tmp_path: Path, kind: str) -> None:
    executor = on_light()
    with unavailable(light, kind):
        assert problems(executor, tmp_path) == []
        attempt = executor.submit(shell_job(tmp_path), 1, "0" * 16)
        assert executor.poll([attempt])[attempt.key].state is JobState.PENDING
    assert until_final(executor, attempt).state is JobState.SUCCEEDED
