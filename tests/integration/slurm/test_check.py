"""What is wrong is told before anything is spent, in the user's words, by a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.slurm.conftest import MakeExecutor
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.project import ClusterProject
from tests.support.slurm.sshd import Sshd

from nel_action.errors import Problem
from nel_action.executors.slurm.check import check
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.executors.slurm.slurm_job import SlurmJob


def problems(executor: SlurmExecutor, folder: Path) -> list[Problem]:
    return check(executor.remote, executor._settings, [SlurmJob(shell_job(folder), 1, executor._settings)])


def test_nothing_is_wrong(on_light: MakeExecutor, tmp_path: Path) -> None:
    assert problems(on_light(), tmp_path) == []


@pytest.mark.parametrize(
    ("fields", "message", "setting"),
    [
        ({"partition": "nowhere"}, "there is no partition 'nowhere'", "execution.partition"),
        ({"partition": "small", "walltime": "01:00:00"}, "more than partition small gives", "execution.walltime"),
        ({"partition": "small", "num_nodes": 2}, "2 nodes are more than partition small gives", "execution.num_nodes"),
        ({"num_nodes": 9}, "9 nodes are more than partition main gives (2)", "execution.num_nodes"),
        ({"gres": "gpu:99"}, "Requested node configuration is not available", "num_nodes, gres"),
        ({"sbatch_extra_flags": {"constraint": "h100"}}, "Invalid feature", "execution.sbatch_extra_flags"),
        ({"output_dir": "/proc/nobody"}, "cannot write to /proc/nobody", "execution.output_dir"),
        ({"mounts": {"evaluation": {"/data/none": "/data"}}}, "/data/none is not there", "login node"),
        ({"environment": {"path": "/usr"}, "runtime": "pyxis"}, "pyxis is not installed", "execution.runtime"),
    ],
)
def test_it_is_told_before_anything_is_submitted(
    on_light: MakeExecutor, tmp_path: Path, fields: dict[str, object], message: str, setting: str
) -> None:
    found = problems(on_light(**fields), tmp_path)
    told = [problem for problem in found if message in problem.message]
    assert len(told) == 1, found
    assert setting in (told[0].hint or "")


def test_the_line_of_the_setting_is_told(light: Cluster, light_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(
        tmp_path / "p",
        tasks=("one",),
        cluster=light,
        sshd=light_sshd,
        more={"partition": "small", "walltime": "9:00:00"},
    )
    spec = project.folder / "spec.yaml"
    spec.write_text(spec.read_text().replace('"walltime"', '\n"walltime"'))
    done = project.run()
    assert done.returncode == 3
    assert "spec.yaml:2:1: walltime 9:00:00 is more than partition small gives (00:30:00)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.runs
