"""The logs of several jobs that are followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.local_jobs import INVOCATION, Bench, job, stop_supervisors

from nel_action.cli.logs import _lines
from nel_action.ledger import AttemptRow
from nel_action.lifecycle.session import JobView
from nel_action.planning.jobs import Job

pytestmark = pytest.mark.slow


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    yield Bench(tmp_path, {name: value for name, value in os.environ.items() if not name.startswith("NEL_")})
    stop_supervisors(tmp_path / "home")


def view(item: Job, backend_id: str | None) -> JobView:
    row = AttemptRow(
        invocation=INVOCATION,
        job=item.index,
        number=1,
        name=item.name,
        key=item.key,
        intended="",
        backend_id=backend_id,
    )
    return JobView(job=item, attempt=row)


def test_followed_logs_of_local_jobs_are_printed_as_they_are_written(bench: Bench) -> None:
    go = bench.root / "go"
    first = job(
        "first", f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.02)\nprint(1)"
    )
    second = job("second", "print(2, flush=True)", index=1)
    executor = bench.executor(parallelism=2)
    attempts = [executor.submit(item, 1, INVOCATION) for item in (first, second)]
    views = [view(item, attempt.backend_id) for item, attempt in zip((first, second), attempts, strict=True)]
    lines = _lines(executor, views, follow=True)
    origin, text = next(lines)
    assert (origin.job.name, text) == ("second", "2")
    go.touch()
    assert [(origin.job.name, text) for origin, text in lines] == [("first", "1")]
