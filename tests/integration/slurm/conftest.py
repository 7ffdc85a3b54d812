"""Real clusters, started once per session: one without accounting for most tests, one with accounting for the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.require import require
from tests.support.slurm.cluster import Cluster, missing_programs
from tests.support.slurm.settings import slurm_settings
from tests.support.slurm.sshd import Sshd

from nel_action.executors.interface import ExecutorContext
from nel_action.executors.slurm.executor import SlurmExecutor

MakeExecutor = Callable[..., SlurmExecutor]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def light() -> Iterator[Cluster]:
    missing = missing_programs(accounting=False)
    require("slurm", not missing, missing)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def full() -> Iterator[Cluster]:
    missing = missing_programs(accounting=True)
    require("slurm", not missing, missing)
    with Cluster(accounting=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def light_sshd(light: Cluster) -> Iterator[Sshd]:
    with Sshd(light.user.pw_name, slurm_conf=light.root / "slurm.conf") as server:
        yield server


@pytest.fixture(scope="session")
def full_sshd(full: Cluster) -> Iterator[Sshd]:
    with Sshd(full.user.pw_name, slurm_conf=full.root / "slurm.conf") as server:
        yield server


def executor_maker(cluster: Cluster, sshd: Sshd, folder: Path) -> Iterator[MakeExecutor]:
    executors: list[SlurmExecutor] = []

    def make(*, environ: dict[str, str] | None = None, **fields: Any) -> SlurmExecutor:  # noqa: ANN401
        output = cluster.scratch / f"out-{os.urandom(3).hex()}"
        settings = slurm_settings(sshd, **({"output_dir": str(output), "max_resumes": 0} | fields))
        workspace = ExecutorContext(home=folder, environ={"HOME": "/nonexistent"} | (environ or {}), base_dir=folder)
        executors.append(SlurmExecutor(settings, workspace))
        return executors[-1]

    yield make
    for executor in executors:
        executor.close()
    cluster.cancel_all()


@pytest.fixture
def on_light(light: Cluster, light_sshd: Sshd, tmp_path: Path) -> Iterator[MakeExecutor]:
    """Yield a factory of executors for the cluster without accounting; the queue is emptied afterwards."""
    yield from executor_maker(light, light_sshd, tmp_path)


@pytest.fixture
def on_full(full: Cluster, full_sshd: Sshd, tmp_path: Path) -> Iterator[MakeExecutor]:
    """Yield a factory of executors for the cluster with accounting; the queue is emptied afterwards."""
    yield from executor_maker(full, full_sshd, tmp_path)
