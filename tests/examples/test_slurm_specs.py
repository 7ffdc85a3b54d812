"""Dry runs of the example specs for Slurm: their plans and batch scripts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.slurm.scripts import shellcheck

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
EXPECTED = {
    "slurm_vllm": ["--nodes=1", "--gres=gpu:8", "--exclusive", "--tensor-parallel-size\n        8\n"],
    "slurm_judge": [
        "--nodes=5",
        "serve server 4 2 8000",
        "serve aux_judge 1 1 8000",
        "balance server 5009 /health 200",
    ],
    "slurm_small": ["--mem=8G", "--cpus-per-task=4", "VIRTUAL_ENV=/shared/me/envs/llamacpp", "llamacpp_server.py"],
}


def test_every_slurm_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("slurm_*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_dry_run_prints_valid_scripts(tmp_path: Path, name: str) -> None:
    argv = [sys.executable, "-m", "nel_action", "run", f"examples/{name}.yaml", "--dry-run"]
    environ = {**os.environ, "NEL_ACTION_HOME": str(tmp_path)}
    result = subprocess.run(argv, cwd=EXAMPLES.parent, env=environ, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    scripts = re.findall(r"\n## \S+/sbatch_\S+\.sh\n(.*?)(?=\n# job |\n## |\Z)", result.stdout, re.DOTALL)
    assert scripts
    for text in scripts:
        assert text.startswith("#!/bin/bash\n")
        assert shellcheck(text, tmp_path / "job.sh") == ""
        assert [part for part in EXPECTED[name] if part not in text] == []
