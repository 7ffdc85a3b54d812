"""A repository whose workflows `act` runs, its GitHub and a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble, github
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.act import Act, act_binary, copy_of_the_action
from tests.support.images.build import engine_here
from tests.support.images.recipes import runner_image
from tests.support.require import require
from tests.support.workplace import Workplace


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a checkout of the action and a cache of packages, for all tests of this process."""
    require("act", act_binary() is not None, "act is not installed: uv pip install -e '.[workflows]'")
    folder = tmp_path_factory.mktemp("action")
    return copy_of_the_action(folder / "checkout"), folder / "cache"


@pytest.fixture
def hub() -> Iterator[GitHubDouble]:
    with github() as double:
        yield double


@pytest.fixture
def act(shared: tuple[Path, Path], hub: GitHubDouble, tmp_path: Path) -> Iterator[Act]:
    with OpenAIServer(Model(name="tiny")) as server:
        place = Workplace(tmp_path, hub, server.url("chat"))
        made = Act(place, *shared)
        yield contain(made) if os.environ.get("NEL_ACTION_TEST_ACT") == "containers" else made
        place.close()


@pytest.fixture
def contained(act: Act) -> Act:
    """Return the same with each job in a container that has nothing but Python and git."""
    return contain(act)


def contain(act: Act) -> Act:
    require("docker", engine_here(), "no Docker engine answers")
    act.platform = runner_image()
    act.place.python = "python3"
    return act
