"""The harness example: installed from its wheel, run on the local executor, and read by `nel-action gate`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.local_jobs import stop_supervisors

from nel_action.model.results import JobOutcome, TaskResult, read_results, read_samples

pytestmark = [pytest.mark.slow, pytest.mark.package, pytest.mark.xdist_group("package")]

SPEC = """
target: {{api_endpoint: {{url: '{url}', model_id: fake}}}}
execution: {{type: local, runtime: process, output_dir: runs}}
evaluation:
  tasks:
    - {{name: addition, harness: arithmetic}}
    - {{name: multiplication, harness: arithmetic, params: {{limit_samples: 20}}}}
"""
POLICY = "tasks: {addition: {max_drop: 0.1}}"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    stop_supervisors(tmp_path / "home")


def nel_action(python: Path, home: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "NEL_ACTION_HOME": str(home)}
    command = [str(python), "-m", "nel_action", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120, cwd=cwd)


def write_results(directory: Path, accuracy: float) -> Path:
    """Run the example's program against a model of this accuracy; return its results file."""
    program = Path(__file__).parents[2] / "examples/harness_plugin/src/nel_action_arithmetic/program.py"
    directory.mkdir()
    path = directory / "arithmetic.jsonl"
    with OpenAIServer(Model(accuracy=accuracy)) as server:
        options = {"url": server.url("chat"), "model": "fake", "output": path, "timeout": 20, "retries": 0}
        argv = [sys.executable, str(program), "addition", "--parallelism", "4"]
        argv += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        subprocess.run(argv, check=True, timeout=60)
    return path


def test_run_evaluates_tasks_of_the_plugin_on_the_local_executor(python: Path, home: Path, tmp_path: Path) -> None:
    with OpenAIServer(Model(accuracy=0.75)) as server:
        (tmp_path / "spec.yaml").write_text(SPEC.format(url=server.url("chat")))
        run = nel_action(python, home, "run", "spec.yaml", "--wait", cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    addition, multiplication = read_results(run_dir / "results.json").tasks
    assert (addition.harness, addition.outcome, addition.harness_version) == (
        "arithmetic",
        JobOutcome.SUCCEEDED,
        "0.1.0",
    )
    assert (addition.n_items, addition.n_expected) == (40, 40)
    assert (multiplication.n_items, multiplication.n_expected) == (20, 20)
    assert sample_mean(addition, run_dir) == pytest.approx(addition.scores[0].value)


def sample_mean(task: TaskResult, run_dir: Path) -> float:
    assert task.samples is not None
    values = [sample.scores["accuracy"] for sample in read_samples(run_dir / task.samples)]
    return sum(values) / len(values)


def test_run_rejects_a_task_that_the_plugin_does_not_know(python: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(url="http://127.0.0.1:9").replace("addition", "division"))
    run = nel_action(python, home, "run", "spec.yaml", "--dry-run", cwd=tmp_path)
    assert run.returncode == 2
    assert "no arithmetic task 'division'" in run.stderr


def test_gate_reads_result_files_of_the_plugin(python: Path, home: Path, tmp_path: Path) -> None:
    good, bad = write_results(tmp_path / "good", 1), write_results(tmp_path / "bad", 0.5)
    (tmp_path / "policy.yaml").write_text(POLICY)
    options = ("--policy", "policy.yaml", "--format", "json")
    same = nel_action(python, home, "gate", str(good), str(good.parent), *options, cwd=tmp_path)
    assert same.returncode == 0, same.stdout + same.stderr
    worse = nel_action(python, home, "gate", str(good), str(bad), *options, cwd=tmp_path)
    assert worse.returncode == 1, worse.stdout + worse.stderr
    (task,) = json.loads(worse.stdout)["tasks"]
    assert (task["task"], task["comparison"]["n_paired"]) == ("addition", 40)


def test_gate_prefers_the_files_of_a_built_in_harness(python: Path, home: Path, tmp_path: Path) -> None:
    recorded = Path(__file__).parents[1] / "harnesses/recorded/lm_eval_sums_add"
    both = shutil.copytree(recorded, tmp_path / "both")
    shutil.copy(write_results(tmp_path / "plugin", 1), both)
    gate = nel_action(python, home, "gate", str(both), "--format", "json", cwd=tmp_path)
    assert [task["task"] for task in json.loads(gate.stdout)["tasks"]] == ["sums_add"]


def test_gate_reports_a_truncated_file_of_the_plugin_as_unmeasurable(python: Path, home: Path, tmp_path: Path) -> None:
    path = write_results(tmp_path / "results", 1)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    gate = nel_action(python, home, "gate", str(path), "--format", "json", cwd=tmp_path)
    assert gate.returncode == 3
    assert "has 39 of 40 answers" in gate.stdout
