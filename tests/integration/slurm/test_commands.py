"""The commands a person types, against jobs that really run on a cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.daemons import wait_until
from tests.support.slurm.project import ClusterProject
from tests.support.slurm.sshd import Sshd

from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.lifecycle.session import open_session
from nel_action.lifecycle.waiting import refresh_all
from nel_action.model.job import JobState

KEY = "sk-made-up-4711-value"


@pytest.fixture(autouse=True)
def nothing_left(full: Cluster) -> Iterator[None]:
    yield
    full.cancel_all()


def identity(project: ClusterProject) -> str:
    return project.runs[-1].name.rsplit("-", 1)[1]


def started(project: ClusterProject, count: int) -> None:
    wait_until(lambda: len(project.ran) >= count, seconds=90, what="jobs to start")


def test_from_run_to_verdict(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("one", "two"), seconds=4, cluster=full, sshd=full_sshd)
    ids = []
    for task in project.tasks:
        done = project.run("-t", task)
        assert done.returncode == 5, done.stderr
        ids.append(identity(project))
    status = project.nel("status", *ids, "--json")
    assert status.returncode in {0, 5}, status.stderr  # they may have ended by now
    assert {record["task"]: record["executor"] for record in json.loads(status.stdout)} == {
        "one": "slurm",
        "two": "slurm",
    }
    there = json.loads(project.nel("info", ids[0], "--json").stdout)["jobs"][0]["there"]
    assert there["host"] == f"{full_sshd.user}@127.0.0.1"
    assert Path(there["directory"]).is_dir()
    assert f"there: job: {there['job']}" in project.nel("info", ids[0]).stdout
    followed = project.nel("logs", ids[0], "-f")
    assert (followed.returncode, followed.stdout) == (0, "key \n"), followed.stderr
    for one in ids:
        waited = project.nel("wait", one)
        assert waited.returncode == 0, waited.stdout + waited.stderr
        assert "0.750 ± 0.050" in waited.stdout
    assert sorted(project.ran) == ["one", "two"]


def test_kill_and_resume(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("one", "two"), seconds=600, cluster=full, sshd=full_sshd)
    assert project.run().returncode == 5
    started(project, 2)
    killed = project.nel("kill", f"{identity(project)}.1")
    assert (killed.returncode, killed.stdout) == (0, "two: cancelled\n"), killed.stderr
    assert full.run("squeue", "-h", "-t", "RUNNING", "-o", "%i").count("\n") == 1
    assert project.nel("kill", identity(project)).returncode == 0
    assert not full.run("squeue", "-h", "-t", "RUNNING,PENDING", "-o", "%i").split()
    assert project.nel("resume", identity(project)).returncode == 5
    started(project, 4)
    assert sorted(project.ran) == ["one", "one", "two", "two"]
    assert project.nel("kill", identity(project)).returncode == 0


def test_on_a_login_node_itself(full: Cluster, tmp_path: Path) -> None:
    """Without SSH and, as the commands see it, without accounting."""
    absent = full.scratch / f"bin-{os.urandom(3).hex()}"
    absent.mkdir()
    (absent / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    (absent / "sacct").chmod(0o755)
    project = ClusterProject(tmp_path / "p", tasks=("one",), cluster=full, more={"bin_dir": str(absent)})
    done = project.run("--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.ran == ["one"]


def test_one_look_for_all_invocations_on_a_host(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("a", "b", "c"), seconds=600, cluster=full, sshd=full_sshd)
    for number, task in enumerate(project.tasks):
        project.output = full.scratch / f"of-{task}-{os.urandom(3).hex()}"
        project.write_spec()
        assert project.run("-t", task).returncode == 5
        if number == 0:
            assert project.run("-t", task).returncode == 5  # the same job, wanted by two
    ids = [run.name.rsplit("-", 1)[1] for run in project.runs]
    wait_until(lambda: len(full.run("squeue", "-h", "-t", "R", "-o", "%i").split()) == 3, seconds=90, what="all to run")
    full.run("scancel", *full.run("squeue", "-h", "-t", "R", "-o", "%i").split()[:1])
    home = Path(project.environ["NEL_ACTION_HOME"])
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(one, home=home, environ=project.environ)) for one in ids]
        views = refresh_all(sessions)
        executors = [one.executor for one in sessions]
        trips = [
            one.remote.round_trips if "remote" in vars(one) else 0
            for one in executors
            if isinstance(one, SlurmExecutor)
        ]
    assert sum(trips) <= 2
    assert len(views) == len(ids) == 4
    assert all(view[0].state is not JobState.PENDING for view in views)


def test_no_value_of_a_secret_is_kept_anywhere(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("one",), seconds=600, secret=KEY, cluster=full, sshd=full_sshd)
    assert project.run().returncode == 5
    started(project, 1)
    (job,) = full.run("squeue", "-h", "-t", "R", "-o", "%A").split()
    told = [full.run("squeue", "-o", "%all"), full.run("scontrol", "-d", "show", "job", job)]
    told += [full.run("scontrol", "write", "batch_script", job, "-"), full.run("sacct", "-j", job, "-P", "-o", "ALL")]
    told += [full.run("sacct", "-j", job, flag) for flag in ("--batch-script", "--env-vars")]
    assert "NEL_NAME" in told[2], "the script was looked at"
    assert not any(KEY in text for text in told)
    assert not [line for line in command_lines() if KEY in line]
    holders = holding(full.root)
    assert [path.name for path in holders if path.name != "client.log"] == [".secrets.env"]
    (secrets,) = (path for path in holders if path.name == ".secrets.env")
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert project.nel("kill", identity(project)).returncode == 0
    assert "key ***" in project.nel("logs", identity(project)).stdout
    full.run("sacct", "-j", job, "--env-vars")
    assert holding(full.root) == []
    assert holding(tmp_path) == []


def holding(folder: Path) -> list[Path]:
    """Return every file below a folder that has the key in it: the cluster's state and database among them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [path for path in files if KEY.encode() in path.read_bytes()]


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
