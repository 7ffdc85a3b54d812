"""A tenth of `scripts/chaos slurm`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.slurm.chaos import run_rounds
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.sshd import Sshd


@pytest.mark.timeout(600)
def test_killed_command_lines_neither_lose_nor_repeat_a_job(light: Cluster, light_sshd: Sshd, tmp_path: Path) -> None:
    outcome = run_rounds(light, light_sshd, tmp_path, kills=10, seed=20_261_122)
    assert outcome.errors == []
    assert outcome.kills >= 10
