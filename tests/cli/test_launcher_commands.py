"""The commands of the launcher's overview page, with the launcher's flags, against real jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.project import Project

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOCAL = sorted((ROOT / "examples").glob("local_*.yaml"))


def nel(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "NEL_ACTION_HOME": str(home), "CI": "true"}
    command = [sys.executable, "-m", "nel_action", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    "limit", ["+config.params.limit_samples=10", "config.params.limit_samples=10",
              "+evaluation.nemo_evaluator_config.config.params.limit_samples=10"],
)  # fmt: skip
def test_dry_run_of_the_overview(limit: str, tmp_path: Path) -> None:
    arguments = ["--config-dir", "examples", "--config-name", "local_llama_3_1_8b_instruct", "-o", limit, "--dry-run"]
    done = nel("run", *arguments, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("limit_samples: 10") == 4  # the resolved spec, and each task's own configuration
    assert "3 jobs; nothing was written or started" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", LOCAL, ids=lambda file: file.stem)
def test_every_local_example_dry_runs(file: Path, tmp_path: Path) -> None:
    done = nel("run", "--config", str(file), "-n", home=tmp_path)
    assert done.returncode == 0, done.stderr


def test_dry_run_says_that_the_key_of_an_image_by_tag_may_change(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "target: {api_endpoint: {url: 'http://h.example/v1/chat/completions', model_id: m}}\n"
        "evaluation: {tasks: [{name: own, harness: command, container: 'own:1', command: ['true']}]}\n"
    )
    done = nel("run", str(spec), "-n", home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "(of the image's tag; a run resolves its digest first, which changes the key)" in done.stdout


def test_contradictory_options_are_refused(tmp_path: Path) -> None:
    done = nel("run", "spec.yaml", "--no-wait", "--max-wait", "5", home=tmp_path)
    assert done.returncode == 2
    assert "--no-wait contradicts --max-wait" in done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a finished run of two jobs."""
    project = Project(tmp_path_factory.mktemp("launcher") / "p", tasks=("alpha", "beta"))
    project.write_spec()
    env = project.folder / "variables"
    env.write_text("FROM_FILE=secret-value\n")
    extra = ["-o", "env_vars.GIVEN=host:FROM_FILE", "--env-file", str(env)]
    done = project.run("--wait", *extra, "--config-output", str(project.folder / "c"))
    assert done.returncode == 0, done.stderr
    return project


def identity(project: Project) -> str:
    return project.runs[-1].name.rsplit("-", 1)[1]


def test_variables_are_read_from_the_file_and_stored_nowhere(project: Project) -> None:
    missing = project.run("-o", "env_vars.GIVEN=host:FROM_FILE")
    assert missing.returncode == 2
    assert "the variable FROM_FILE is not set" in missing.stderr
    copy = (project.folder / "c" / f"{identity(project)}.yaml").read_text()
    assert "host:FROM_FILE" in copy
    assert "secret-value" not in copy


def test_copied_spec_runs_again_unchanged(project: Project) -> None:
    copy = project.folder / "c" / f"{identity(project)}.yaml"
    done = project.nel("run", "--config", str(copy), "--config-mode", "raw", "--base-dir", str(project.folder), "-n")
    assert done.returncode == 0, done.stderr
    refused = project.nel("run", "--config", str(copy), "--config-mode=raw", "-o", "execution.parallelism=1", "-n")
    assert refused.returncode == 2
    assert "takes the file as it is" in refused.stderr


@pytest.mark.parametrize(("tasks", "jobs"), [(("alpha",), 1), (("alpha", "beta"), 2), (("beta.1",), 1)])
def test_tasks_are_selected_by_name_or_position(project: Project, tasks: tuple[str, ...], jobs: int) -> None:
    options = [argument for task in tasks for argument in ("--tasks", task)]
    done = project.run("--dry-run", *options)
    assert f"{jobs} job{'s' if jobs > 1 else ''}; nothing was written" in done.stderr
    assert project.run("-n", "-t", "alpha.1").returncode == 2


def test_ls_runs_filters_by_age_and_executor(project: Project) -> None:
    assert identity(project) in project.nel("ls", "runs", "--since", "1d", "--limit", "5").stdout
    assert identity(project) in project.nel("ls", "runs", "--since", "2026-01-31", "--executor", "local").stdout
    later = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 3600))
    assert "no runs yet" in project.nel("ls", "runs", "--since", later).stdout
    wrong = project.nel("ls", "runs", "--since", "yesterday")
    assert wrong.returncode == 2
    assert "neither a date" in wrong.stderr


def test_status_logs_and_info_accept_several_ids(project: Project) -> None:
    first, second = f"{identity(project)[:8]}.0", f"{identity(project)[:8]}.1"
    assert [row["state"] for row in json.loads(project.nel("status", first, second, "--json").stdout)] == [
        "succeeded"
    ] * 2
    assert project.nel("logs", first, second).returncode == 0
    records = json.loads(project.nel("info", first, second, "--json").stdout)
    assert [job["task"] for run in records for job in run["jobs"]] == ["alpha", "beta"]


def test_info_prints_and_copies_files(project: Project, tmp_path: Path) -> None:
    run = identity(project)
    assert "host:FROM_FILE" in project.nel("info", run, "--config").stdout
    assert "scores.json" in project.nel("info", run, "--artifacts").stdout
    assert "beta" in project.nel("info", f"{run}.1", "--logs").stdout
    copied = project.nel("info", run, "--copy-artifacts", str(tmp_path / "a"), "--copy_logs", str(tmp_path / "l"))
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "a" / f"{run}.0" / "scores.json").is_file()
    assert (tmp_path / "l" / f"{run}.1").is_dir()


def test_info_copies_to_the_current_directory_if_none_is_named(project: Project) -> None:
    run = identity(project)
    copied = project.nel("info", run, "--copy-logs", "--copy-artifacts")
    assert copied.returncode == 0, copied.stderr
    assert (project.folder / f"{run}.0" / "scores.json").is_file()


def test_export_writes_files_by_default(project: Project, tmp_path: Path) -> None:
    file = ["--env-file", str(project.folder / "variables")]
    done = project.nel(
        "export", identity(project), "-out", str(tmp_path), "-fname", "all.json", "--format", "json", *file
    )
    assert done.returncode == 0, done.stderr
    assert "alpha" in (tmp_path / "all.json").read_text()


def test_options_accept_underscores_and_verbosity(project: Project) -> None:
    done = project.nel("run", str(project.folder / "spec.yaml"), "--dry_run", "-v")
    assert done.returncode == 0, done.stderr
    assert project.nel("-v", "version").stdout.startswith("nel-action ")


def test_ls_lists_tasks_of_the_catalog_and_of_a_file(tmp_path: Path) -> None:
    assert nel("ls", home=tmp_path).stdout.endswith("421 tasks of 23 harnesses\n")
    listing = {
        "harnesses": [{"name": "own", "container": "own:1", "container_digest": None, "full_name": "Own", "url": None}],
        "tasks": [{"harness": "own", "defaults": {"config": {"type": "mine", "supported_endpoint_types": ["chat"]}}}],
    }
    (tmp_path / "listing.yaml").write_text(json.dumps(listing))
    listed = nel("ls", "task", "mine", "--tasks_file", str(tmp_path / "listing.yaml"), "--json", home=tmp_path)
    assert json.loads(listed.stdout)["full_name"] == "own.mine"
