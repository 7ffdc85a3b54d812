"""What the tests of the GitHub part share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import GitHubDouble, github

from nel_action.github.api import GitHubApi


@pytest.fixture
def hub() -> Iterator[GitHubDouble]:
    with github() as double:
        yield double


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def api(hub: GitHubDouble, sleeper: Sleeper) -> Iterator[GitHubApi]:
    made = GitHubApi(hub.url, hub.token, clock=sleeper.clock)
    yield made
    made.close()
