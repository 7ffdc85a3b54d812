from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support import docker
from tests.support.local_jobs import Bench, stop_supervisors

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    with docker.client() as client:
        yield client


@pytest.fixture(scope="session")
def image(engine: DockerClient) -> str:
    return docker.tiny_image(engine)


@pytest.fixture
def bench(tmp_path: Path, engine: DockerClient) -> Iterator[Bench]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEL_")}
    yield Bench(tmp_path, environ, {"runtime": "docker", "shm_size": "64m"})
    stop_supervisors(tmp_path / "home")
    own: dict[str, str | list[str] | bool] = {"label": f"nel-action.store={tmp_path / 'home' / 'local'}"}
    for container in engine.containers.list(all=True, filters=own, ignore_removed=True):
        container.remove(force=True)
    for network in engine.networks.list(filters=own):
        network.remove()
