from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.local_jobs import Bench

from nel_action.executors.local.agents import try_lock
from nel_action.executors.local.store import Store


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEL_")}
    yield Bench(tmp_path, environ)
    _end_agents(tmp_path / "home")


def _end_agents(home: Path) -> None:
    """Cancel what a test left, and see that no agent is left either."""
    store = Store(home)
    for attempt in store.all():
        if not attempt.ended:
            attempt.request_cancel()
    deadline = time.monotonic() + 30
    for folder in (store.root / "agents").glob("*"):
        queue = store.queue(folder.name)
        queue.wake()
        while (lock := try_lock(queue)) is None:
            assert time.monotonic() < deadline, queue.log.read_text()
            time.sleep(0.05)
        os.close(lock)
