"""A real SSH server for tests of the transport, which need no Slurm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from tests.support.require import require
from tests.support.slurm.cluster import cluster_user
from tests.support.slurm.sshd import Sshd


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    require("slurm", shutil.which("sshd", path="/usr/sbin") is not None and os.geteuid() == 0, "no sshd, or not root")
    with Sshd(cluster_user().pw_name) as server:
        yield server
