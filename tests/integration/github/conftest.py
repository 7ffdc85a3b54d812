"""Fixtures: a repository, the GitHub double and a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble, github
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.workplace import Workplace


@pytest.fixture
def hub() -> Iterator[GitHubDouble]:
    with github() as double:
        yield double


@pytest.fixture
def workplace(hub: GitHubDouble, tmp_path: Path) -> Iterator[Workplace]:
    with OpenAIServer(Model(name="tiny")) as server:
        repository = Workplace(tmp_path, hub, server.url("chat"))
        yield repository
        repository.close()
