"""A tenth of `scripts/chaos local`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.support import chaos_local
from tests.support.local_jobs import stop_supervisors
from tests.support.require import require

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def test_kills_of_engine_supervisors_submitters_and_containers_lose_and_repeat_nothing(tmp_path: Path) -> None:
    usable = os.getuid() == 0 and all(shutil.which(name) for name in ("dockerd", "containerd"))
    require("docker", usable, "no second engine can be started: this needs root, dockerd and containerd")
    try:
        counts = chaos_local.run(15, 2026, tmp_path)
    finally:
        for home in tmp_path.glob("*/*/home"):
            stop_supervisors(home)
    assert counts.errors == 0, counts
    assert sum(counts.kills.values()) >= 15
    assert {"engine", "supervisor"} <= {part for kind in counts.kills for part in kind.split("+")}
