from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.local_jobs import Bench, stop_supervisors


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEL_")}
    yield Bench(tmp_path, environ)
    stop_supervisors(tmp_path / "home")
