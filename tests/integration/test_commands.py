from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.images.build import engine_available
from tests.support.project import Project
from tests.support.require import require

from nel_action.model.results import JobOutcome, read_results


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "p", tasks=("alpha", "beta"))


def identity(project: Project) -> str:
    return project.runs[-1].name.rsplit("-", 1)[1]


def wait_until_running(project: Project, count: int = 1) -> None:
    """Wait until that many jobs have started."""
    deadline = time.monotonic() + 60
    while len(project.ran) < count:
        assert time.monotonic() < deadline, "no job started"
        time.sleep(0.05)


def test_run_without_wait_exits_with_5_and_wait_with_the_verdict(project: Project) -> None:
    done = project.run()
    assert done.returncode == 5, done.stderr
    assert identity(project) in done.stderr
    waited = project.nel("wait", identity(project)[:8])
    assert waited.returncode == 0, waited.stderr
    assert "75.0 ± 5.0 %" in waited.stdout
    for name in ("results.json", "gate.json", "report.md", "junit.xml", "spec.yaml", "plan.json", "invocation.json"):
        assert (project.runs[-1] / name).is_file(), name


def test_wait_again_changes_neither_results_nor_exports(project: Project) -> None:
    local = ["-o", "+export.local.output_dir=out", "-o", "+execution.auto_export.destinations=[local]"]
    assert project.run("--wait", *local).returncode == 0
    kept = [project.runs[-1] / "results.json", project.folder / "out" / "processed_results.json"]
    before = [path.read_bytes() for path in kept]
    assert project.nel("wait", identity(project)).returncode == 0
    assert [path.read_bytes() for path in kept] == before


def test_max_wait_exits_with_5_and_the_jobs_run_on(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", tasks=("slow",), seconds=3)
    assert project.run("--max-wait", "0.2").returncode == 5
    assert project.nel("wait", identity(project)).returncode == 0
    assert project.ran == ["slow"]


def test_failed_job_is_unmeasurable_and_resume_runs_it_again(project: Project) -> None:
    project.write_spec({"beta": 7})
    failed = project.run("--wait")
    assert failed.returncode == 3, failed.stderr
    assert "beta" in failed.stdout
    status = project.nel("status", identity(project), "--json")
    assert status.returncode == 3
    states = {record["task"]: (record["state"], record["exit_code"]) for record in json.loads(status.stdout)}
    assert states == {"alpha": ("succeeded", 0), "beta": ("failed", 7)}
    resumed = project.nel("resume", identity(project), "--wait")
    assert resumed.returncode == 3
    assert sorted(project.ran) == ["alpha", "beta", "beta"]
    results = read_results(project.runs[-1] / "results.json")
    assert [(task.outcome, task.attempts) for task in results.tasks] == [
        (JobOutcome.SUCCEEDED, 1),
        (JobOutcome.FAILED, 2),
    ]


def test_kill_cancels_jobs(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", tasks=("one", "two"), seconds=60)
    assert project.run().returncode == 5
    wait_until_running(project, 2)
    killed = project.nel("kill", identity(project))
    assert killed.returncode == 0, killed.stderr
    assert killed.stdout.splitlines() == ["one: cancelled", "two: cancelled"]
    assert project.nel("status", identity(project)).returncode == 3


def test_kill_of_one_job_keeps_the_other(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", tasks=("one", "two"), seconds=6)
    assert project.run().returncode == 5
    wait_until_running(project, 2)
    assert project.nel("kill", f"{identity(project)}.1").stdout.strip() == "two: cancelled"
    assert project.nel("wait", identity(project)).returncode == 3
    results = read_results(project.runs[-1] / "results.json")
    assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED, JobOutcome.CANCELLED]


def test_results_of_a_commit_are_reused_unless_fresh(project: Project) -> None:
    assert project.run("--wait").returncode == 0
    second = project.run("--wait")
    assert second.returncode == 0
    assert "is reused" in second.stderr
    assert len(project.ran) == 2
    assert project.run("--wait", "--fresh").returncode == 0
    assert len(project.ran) == 4


def test_task_option_selects_tasks(project: Project) -> None:
    assert project.run("--wait", "-t", "beta").returncode == 0
    assert project.ran == ["beta"]
    wrong = project.run("--wait", "-t", "bet")
    assert wrong.returncode == 2
    assert "did you mean 'beta'?" in wrong.stderr


def test_dry_run_prints_plan_and_scripts_and_writes_nothing(project: Project) -> None:
    before = sorted(project.folder.rglob("*"))
    done = project.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "alpha/run.sh" in done.stdout
    assert "key: nel-" in done.stdout
    assert sorted(path for path in project.folder.rglob("*") if ".git" not in path.parts) == [
        path for path in before if ".git" not in path.parts
    ]
    assert project.ran == []


def test_logs_info_and_ls_find_the_run(project: Project) -> None:
    assert project.run("--wait").returncode == 0
    name = identity(project)
    assert project.nel("logs", name).returncode == 0
    info = json.loads(project.nel("info", name, "--json").stdout)
    assert info["run_dir"] == str(project.runs[-1])
    assert [job["task"] for job in info["jobs"]] == ["alpha", "beta"]
    runs = json.loads(project.nel("ls", "runs", "--json").stdout)
    assert [(run["invocation"], run["states"]) for run in runs] == [(name, {"succeeded": 2})]


def test_scripts_run_by_hand_give_the_same_scores(project: Project, tmp_path: Path) -> None:
    assert project.run("--wait").returncode == 0
    script = project.runs[-1] / "alpha" / "run.sh"
    output = tmp_path / "by-hand"
    environ = project.environ | {"NEL_RESULTS_DIR": str(output)}
    subprocess.run(["bash", str(script)], env=environ, check=True, capture_output=True, timeout=60)
    by_hand = (output / "artifacts" / "scores.json").read_text()
    assert by_hand == (project.runs[-1] / "alpha" / "artifacts" / "scores.json").read_text()


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ("evaluation: {taskz: []}", 2, "taskz"),
        ("evaluation: {tasks: [{name: no_such_task}]}", 2, "no_such_task"),
        ("evaluation: {tasks: [{name: a, harness: command, command: ['true'], timeout: soon}]}", 2, "timeout"),
        ("evaluation: [unclosed", 2, "spec.yaml"),
        ("env_vars: {A: 'host:NOBODY_SET_THIS'}", 2, "NOBODY_SET_THIS"),
        ("gate: {tasks: {alhpa: {min: 0.5}}}", 2, "alpha"),
        ("execution: {type: local, runtime: process, parallelism: 0}", 2, "parallelism"),
    ],
)
def test_invalid_spec_is_reported_and_nothing_is_run(project: Project, spec: str, code: int, message: str) -> None:
    name = spec.partition(":")[0]
    lines = (project.folder / "spec.yaml").read_text().splitlines()
    kept, skipping = [], False
    for line in lines:
        skipping = line.startswith(f"{name}:") or (skipping and line.startswith(" "))
        kept += [] if skipping else [line]
    (project.folder / "spec.yaml").write_text("\n".join([*kept, spec, ""]))
    done = project.run("--wait")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "nothing was run" in done.stderr
    assert project.ran == []
    assert project.runs == []


def test_gate_decides_the_exit_code(tmp_path: Path) -> None:
    gate = "gate: {tasks: {alpha: {min: %s, floor: point}}}"
    for minimum, code, verdict in (("0.7", 0, "pass"), ("0.8", 1, "fail")):
        project = Project(tmp_path / verdict, tasks=("alpha",), extra=gate % minimum)
        done = project.run("--wait")
        assert done.returncode == code, done.stdout + done.stderr
        assert f"{verdict} (exit {code})" in done.stdout


def test_unreachable_target_is_reported_before_submission(project: Project) -> None:
    done = project.nel("run", "spec.yaml", "--wait")
    assert done.returncode == 3
    assert "connection refused" in done.stderr
    assert project.ran == []


CONTAINERS = (
    *("-o", "execution.runtime=docker", "-o", "+execution.network=host"),
    *("-o", "+evaluation.tasks.0.container=127.0.0.1:9/no/such:image"),
    *("-o", "+evaluation.tasks.1.container=127.0.0.1:9/no/such:image"),
)
"""Nothing listens on that port of this machine."""


def test_missing_engine_is_reported_with_the_fix(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.folder / 'no.sock'}")
    done = project.run("--wait", *CONTAINERS)
    assert done.returncode == 3, done.stderr
    assert "no.sock" in done.stderr
    assert "execution.runtime: process" in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.ran
    assert not project.runs


@pytest.mark.docker
def test_unpullable_image_is_reported_before_submission(project: Project) -> None:
    require("docker", engine_available(), "no Docker engine answers")
    done = project.run("--wait", *CONTAINERS)
    assert done.returncode == 3, done.stderr
    assert "127.0.0.1:9/no/such:image" in done.stderr
    assert "docker login" in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.ran
    assert not project.runs


def test_unknown_invocation_is_a_usage_error(project: Project) -> None:
    for command in ("status", "wait", "logs", "kill", "resume", "info"):
        done = project.nel(command, "ffffffff")
        assert done.returncode == 2, command
        assert "no invocation 'ffffffff'" in done.stderr


def test_doctor_reports_what_is_usable(project: Project) -> None:
    done = project.nel("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert findings["python"]["state"] == findings["home"]["state"] == "ok"
    broken = project.nel("doctor", "spec.yaml")
    assert broken.returncode == 3
    assert "connection refused" in broken.stdout
    overridden = project.nel("doctor", "spec.yaml", "-o", "execution.parallelism=none")
    assert overridden.returncode == 3
    assert "execution.parallelism" in overridden.stdout
