"""The command line, with jobs on a real cluster."""

from __future__ import annotations

import json
import os
import re
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
def empty_queue(full: Cluster) -> Iterator[None]:
    yield
    full.cancel_all()


def invocation_of(project: ClusterProject) -> str:
    return project.runs[-1].name.rsplit("-", 1)[1]


def until_started(project: ClusterProject, count: int) -> None:
    wait_until(lambda: len(project.ran) >= count, seconds=90, what="jobs to start")


def test_run_status_info_logs_wait(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("one", "two"), seconds=4, cluster=full, sshd=full_sshd)
    ids = []
    for task in project.tasks:
        submitted = project.run("-t", task)
        assert submitted.returncode == 5, submitted.stderr
        ids.append(invocation_of(project))
    status = project.nel("status", *ids, "--json")
    assert status.returncode in {0, 5}, status.stderr  # the jobs may have finished by now
    assert {record["task"]: record["executor"] for record in json.loads(status.stdout)} == {
        "one": "slurm",
        "two": "slurm",
    }
    details = json.loads(project.nel("info", ids[0], "--json").stdout)["jobs"][0]["there"]
    assert details["host"] == f"{full_sshd.user}@127.0.0.1"
    assert Path(details["directory"]).is_dir()
    assert re.search(rf"^  backend job +{details['job']}$", project.nel("info", ids[0]).stdout, re.MULTILINE)
    followed = project.nel("logs", ids[0], "-f")
    assert (followed.returncode, followed.stdout) == (0, "key \n"), followed.stderr
    for invocation in ids:
        waited = project.nel("wait", invocation)
        assert waited.returncode == 0, waited.stdout + waited.stderr
        assert "75.0 ± 5.0 %" in waited.stdout
    assert sorted(project.ran) == ["one", "two"]


def test_kill_and_resume(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("one", "two"), seconds=600, cluster=full, sshd=full_sshd)
    assert project.run().returncode == 5
    until_started(project, 2)
    killed = project.nel("kill", f"{invocation_of(project)}.1")
    assert (killed.returncode, killed.stdout) == (0, "two: cancelled\n"), killed.stderr
    assert full.run("squeue", "-h", "-t", "RUNNING", "-o", "%i").count("\n") == 1
    assert project.nel("kill", invocation_of(project)).returncode == 0
    assert not full.run("squeue", "-h", "-t", "RUNNING,PENDING", "-o", "%i").split()
    assert project.nel("resume", invocation_of(project)).returncode == 5
    until_started(project, 4)
    assert sorted(project.ran) == ["one", "one", "two", "two"]
    assert project.nel("kill", invocation_of(project)).returncode == 0


def test_run_on_a_login_node_without_accounting(full: Cluster, tmp_path: Path) -> None:
    """Without SSH, and with an `sacct` that reports that there is no accounting."""
    bin_dir = full.scratch / f"bin-{os.urandom(3).hex()}"
    bin_dir.mkdir()
    (bin_dir / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    (bin_dir / "sacct").chmod(0o755)
    project = ClusterProject(tmp_path / "p", tasks=("one",), cluster=full, more={"bin_dir": str(bin_dir)})
    result = project.run("--wait")
    assert result.returncode == 0, result.stdout + result.stderr
    assert project.ran == ["one"]


def test_all_invocations_on_a_host_are_polled_together(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("a", "b", "c"), seconds=600, cluster=full, sshd=full_sshd)
    for number, task in enumerate(project.tasks):
        project.output = full.scratch / f"of-{task}-{os.urandom(3).hex()}"
        project.write_spec()
        project.git("commit", "-qam", f"output of {task}")
        assert project.run("-t", task).returncode == 5
        if number == 0:
            assert project.run("-t", task).returncode == 5  # the same job in two invocations
    ids = [run.name.rsplit("-", 1)[1] for run in project.runs]
    wait_until(lambda: len(full.run("squeue", "-h", "-t", "R", "-o", "%i").split()) == 3, seconds=90, what="all to run")
    full.run("scancel", *full.run("squeue", "-h", "-t", "R", "-o", "%i").split()[:1])
    home = Path(project.environ["NEL_ACTION_HOME"])
    with ExitStack() as stack:
        sessions = [stack.enter_context(open_session(each, home=home, environ=project.environ)) for each in ids]
        views = refresh_all(sessions)
        executors = [session.executor for session in sessions]
        trips = [
            executor.remote.round_trips if "remote" in vars(executor) else 0
            for executor in executors
            if isinstance(executor, SlurmExecutor)
        ]
    assert sum(trips) <= 2
    assert len(views) == len(ids) == 4
    assert all(view[0].state is not JobState.PENDING for view in views)


def test_secret_is_in_one_private_file_and_removed_by_kill(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> None:
    project = ClusterProject(tmp_path / "p", tasks=("one",), seconds=600, secret=KEY, cluster=full, sshd=full_sshd)
    assert project.run().returncode == 5
    until_started(project, 1)
    (job,) = full.run("squeue", "-h", "-t", "R", "-o", "%A").split()
    outputs = [full.run("squeue", "-o", "%all"), full.run("scontrol", "-d", "show", "job", job)]
    outputs += [
        full.run("scontrol", "write", "batch_script", job, "-"),
        full.run("sacct", "-j", job, "-P", "-o", "ALL"),
    ]
    outputs += [full.run("sacct", "-j", job, flag) for flag in ("--batch-script", "--env-vars")]
    assert "NEL_NAME" in outputs[2], "the script is among the outputs"
    assert not any(KEY in text for text in outputs)
    assert not [line for line in command_lines() if KEY in line]
    holders = files_with_key(full.root)
    assert [path.name for path in holders if path.name != "client.log"] == [".secrets.env"]
    (secrets,) = (path for path in holders if path.name == ".secrets.env")
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert project.nel("kill", invocation_of(project)).returncode == 0
    assert "key ***" in project.nel("logs", invocation_of(project)).stdout
    full.run("sacct", "-j", job, "--env-vars")
    assert files_with_key(full.root) == []
    assert files_with_key(tmp_path) == []


def files_with_key(folder: Path) -> list[Path]:
    """Return all files that contain the key; the cluster's folder includes its state and database."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [path for path in files if KEY.encode() in path.read_bytes()]


def command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines
