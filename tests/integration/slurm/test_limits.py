"""Limits and accounts that a real controller enforces: what waits, and what is refused before anything is submitted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.require import require
from tests.support.slurm.cluster import Cluster, missing_programs
from tests.support.slurm.project import ClusterProject
from tests.support.slurm.sshd import Sshd


@pytest.fixture(scope="module")
def limited() -> Iterator[tuple[Cluster, Sshd]]:
    """Yield a cluster on which the user may have one submitted job."""
    missing = missing_programs(accounting=True)
    require("slurm", not missing, missing)
    with (
        Cluster(accounting=True) as cluster,
        Sshd(cluster.user.pw_name, slurm_conf=cluster.root / "slurm.conf") as sshd,
    ):
        cluster.run("sacctmgr", "-iQ", "add", "account", "lab", "cluster=ci")
        user = ("add", "user", cluster.user.pw_name, "account=lab", "cluster=ci", "MaxSubmitJobs=1")
        cluster.run("sacctmgr", "-iQ", *user)
        conf = cluster.root / "slurm.conf"
        shutil.copy(conf, conf.with_suffix(".before"))
        conf.write_text(f"{conf.read_text()}\nAccountingStorageEnforce=associations,limits\n")
        cluster.stop_controller()
        cluster.start_controller()
        cluster.wait_for_nodes()
        yield cluster, sshd


def test_jobs_beyond_a_submit_limit_are_submitted_as_others_finish(
    limited: tuple[Cluster, Sshd], tmp_path: Path
) -> None:
    cluster, sshd = limited
    project = ClusterProject(tmp_path / "p", ("a", "b"), 1, cluster=cluster, sshd=sshd, more={"max_resumes": 0})
    submitted = project.run()
    assert submitted.returncode == 5, submitted.stderr
    assert "1 of 2 jobs not submitted yet: Slurm accepts no further job now: AssocMaxSubmitJobLimit" in submitted.stderr
    invocation = project.runs[-1].name.rsplit("-", 1)[1]
    waited = project.nel("wait", invocation)
    assert waited.returncode == 0, waited.stdout + waited.stderr
    assert sorted(project.ran) == ["a", "b"]


def test_account_that_does_not_exist_is_refused_with_its_line(limited: tuple[Cluster, Sshd], tmp_path: Path) -> None:
    cluster, sshd = limited
    project = ClusterProject(tmp_path / "p", ("a",), 1, cluster=cluster, sshd=sshd, more={"account": "none"})
    result = project.run()
    assert result.returncode == 2
    assert "spec.yaml:1:" in result.stderr
    assert "Invalid account or account/partition combination specified" in result.stderr
    assert "check execution.account" in result.stderr
    assert not project.runs
