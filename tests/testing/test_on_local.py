"""The conformance suite against the local executor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.local_jobs import stop_supervisors

from nel_action.testing.executor_suite import ExecutorBench, ExecutorSuite

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ExecutorBench]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEL_")}
    execution = {"type": "local", "runtime": "process", "parallelism": 4}
    yield ExecutorBench(execution=execution, home=tmp_path / "home", scratch=tmp_path, environ=environ)
    stop_supervisors(tmp_path / "home")


class TestLocal(ExecutorSuite):
    pass
