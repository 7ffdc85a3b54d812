"""Fixtures: a repository whose workflows `act` runs, the GitHub double and a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble, github
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.act import Act, act_binary, copy_action
from tests.support.images.build import engine_available
from tests.support.images.recipes import runner_image
from tests.support.require import require
from tests.support.workplace import Workplace


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a checkout of the action and a cache of packages, shared by all tests of the session."""
    require("act", act_binary() is not None, "act is not installed: uv pip install -e '.[workflows]'")
    folder = tmp_path_factory.mktemp("action")
    return copy_action(folder / "checkout"), folder / "cache"


@pytest.fixture
def hub() -> Iterator[GitHubDouble]:
    with github() as double:
        yield double


@pytest.fixture
def act(shared: tuple[Path, Path], hub: GitHubDouble, tmp_path: Path) -> Iterator[Act]:
    with OpenAIServer(Model(name="tiny")) as server:
        workplace = Workplace(tmp_path, hub, server.url("chat"))
        act = Act(workplace, *shared)
        yield contain(act) if os.environ.get("NEL_ACTION_TEST_ACT") == "containers" else act
        workplace.close()


@pytest.fixture
def contained(act: Act) -> Act:
    """Return `act` with one container per job, which contains only Python and git."""
    return contain(act)


def contain(act: Act) -> Act:
    """Run jobs in containers."""
    require("docker", engine_available(), "no Docker engine answers")
    act.platform = runner_image()
    act.workplace.python = "python3"
    return act
