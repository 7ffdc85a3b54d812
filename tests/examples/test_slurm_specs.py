"""The specs for Slurm, as far as they go without their clusters: planned, and their scripts as they would be sent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.slurm.scripts import shellcheck

EXAMPLES = Path(__file__).parents[2] / "examples"
WANTED = {
    "slurm_vllm": ["--nodes=1", "--gres=gpu:8", "--exclusive", "--tensor-parallel-size\n        8\n"],
    "slurm_judge": [
        "--nodes=5",
        "serve server 4 2 8000",
        "serve aux_judge 1 1 8000",
        "balance server 5009 /health 200",
    ],
    "slurm_small": ["--mem=8G", "--cpus-per-task=4", "VIRTUAL_ENV=/shared/me/envs/llamacpp", "llamacpp_server.py"],
}


def test_all_of_them_are_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("slurm_*.yaml")} == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_a_dry_run_shows_sound_scripts(tmp_path: Path, name: str) -> None:
    words = [sys.executable, "-m", "nel_action", "run", f"examples/{name}.yaml", "--dry-run"]
    environ = {**os.environ, "NEL_ACTION_HOME": str(tmp_path)}
    done = subprocess.run(words, cwd=EXAMPLES.parent, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"\n## \S+/sbatch_\S+\.sh\n(.*?)(?=\n# job |\n## |\Z)", done.stdout, re.DOTALL)
    assert shown
    for text in shown:
        assert text.startswith("#!/bin/bash\n")
        assert shellcheck(text, tmp_path / "job.sh") == ""
        assert [words for words in WANTED[name] if words not in text] == []
