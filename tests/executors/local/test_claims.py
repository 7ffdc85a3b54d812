"""Attempts of one job never run at once: in a store, between stores, and after a supervisor was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.local_jobs import INVOCATION, Bench, job, key, started_pid, stop_supervisors, supervisor_pid, wait
from tests.support.processes import gone

from nel_action.errors import UnreachableError
from nel_action.executors.interface import poll_attempts
from nel_action.executors.local import claims
from nel_action.executors.local import executor as executor_module
from nel_action.executors.local.claims import JobClaim
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.local.store import Store
from nel_action.model.job import Attempt, JobState
from nel_action.planning.jobs import Job

OTHER = "fedcba9876543210"


@pytest.fixture
def neighbour(bench: Bench, tmp_path: Path) -> Iterator[Bench]:
    """Return a second home on the same machine."""
    root = tmp_path / "neighbour"
    yield Bench(root, bench.environ, bench.settings)
    stop_supervisors(root / "home")


def gated_job(root: Path, *, code: int = 0) -> Job:
    """Return a job that records that it runs, and ends when the file `go` exists."""
    script = (
        f"import os, pathlib, sys, time\nroot = pathlib.Path({str(root)!r})\n"
        "with (root / 'ran').open('a') as log: log.write('ran\\n')\n"
        "while not (root / 'go').exists(): time.sleep(0.02)\n"
        "pathlib.Path(os.environ['NEL_OUTPUT_DIR'], 'scores.json').write_text('{}')\n"
        f"sys.exit({code})"
    )
    return job("one", script)


def until_waiting(executor: LocalExecutor, attempt: Attempt, store: Path) -> None:
    """Poll until the attempt waits for one in that store."""
    deadline = time.monotonic() + 60
    while True:
        status = poll_attempts(executor, [attempt])[attempt.key]
        if status.detail == f"waiting for the same job in {store}":
            return
        assert not status.state.final, status
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def runs(root: Path) -> int:
    return len((root / "ran").read_text().split())


@pytest.mark.slow
def test_a_second_attempt_in_a_store_waits_and_uses_the_result_of_the_first(bench: Bench) -> None:
    executor, one = bench.executor(), gated_job(bench.root)
    first = executor.submit(one, 1, INVOCATION)
    started_pid(bench, "one")
    second = executor.submit(one, 2, OTHER)
    until_waiting(executor, second, bench.root / "home/local")
    (bench.root / "go").touch()
    assert wait(executor, [first])[one.key].state is JobState.SUCCEEDED
    status = wait(executor, [second])[one.key]
    assert (status.state, status.detail) == (JobState.SUCCEEDED, f"the results are those of {first.backend_id}")
    assert (Path(str(second.backend_id)) / "artifacts/scores.json").read_text() == "{}"
    assert runs(bench.root) == 1


@pytest.mark.slow
def test_the_same_job_in_another_home_waits_and_uses_the_result(bench: Bench, neighbour: Bench) -> None:
    one = gated_job(bench.root)
    first = bench.executor().submit(one, 1, INVOCATION)
    started_pid(bench, "one")
    other = neighbour.executor()
    second = other.submit(one, 1, INVOCATION)
    until_waiting(other, second, bench.root / "home/local")
    (bench.root / "go").touch()
    assert wait(bench.executor(), [first])[one.key].state is JobState.SUCCEEDED
    assert wait(other, [second])[one.key].detail == f"the results are those of {first.backend_id}"
    other.collect(second, bench.root / "into")
    assert (bench.root / "into/artifacts/scores.json").read_text() == "{}"
    assert runs(bench.root) == 1


@pytest.mark.slow
def test_the_same_job_in_another_home_runs_after_the_first_failed(bench: Bench, neighbour: Bench) -> None:
    one = gated_job(bench.root, code=1)
    first = bench.executor().submit(one, 1, INVOCATION)
    started_pid(bench, "one")
    other = neighbour.executor()
    second = other.submit(one, 1, INVOCATION)
    until_waiting(other, second, bench.root / "home/local")
    (bench.root / "go").touch()
    assert wait(bench.executor(), [first])[one.key].state is JobState.FAILED
    assert wait(other, [second])[one.key].detail == "exit status 1"
    assert runs(bench.root) == 2


@pytest.mark.slow
def test_a_job_whose_supervisor_was_killed_does_not_block_another_home(bench: Bench, neighbour: Bench) -> None:
    one = gated_job(bench.root)
    bench.executor().submit(one, 1, INVOCATION)
    harness = started_pid(bench, "one")
    os.kill(supervisor_pid(bench.root / "home", INVOCATION), signal.SIGKILL)
    (bench.root / "go").touch()
    assert wait(neighbour.executor(), [neighbour.executor().submit(one, 1, INVOCATION)])[one.key].state is (
        JobState.SUCCEEDED
    )
    assert gone(harness)


@pytest.mark.slow
def test_a_cancelled_attempt_stops_waiting(bench: Bench) -> None:
    executor, one = bench.executor(), gated_job(bench.root)
    executor.submit(one, 1, INVOCATION)
    started_pid(bench, "one")
    second = executor.submit(one, 2, OTHER)
    until_waiting(executor, second, bench.root / "home/local")
    executor.cancel([second])
    assert poll_attempts(executor, [second])[one.key].state is JobState.CANCELLED
    assert runs(bench.root) == 1


def attempts(bench: Bench, *stores: str) -> list[tuple[Store, JobClaim]]:
    """Return a claim of the first attempt of a job in each of these stores."""
    pairs = []
    for name in stores:
        store = Store(bench.root / name)
        store.at(key("one"), 1).path.mkdir(parents=True)
        pairs.append((store, JobClaim(store, store.at(key("one"), 1))))
    return pairs


def test_claim_is_exclusive_until_it_is_released(bench: Bench) -> None:
    (first, held), (_, refused) = attempts(bench, "a", "b")
    assert held.acquire() is None
    assert refused.acquire() == first.at(key("one"), 1)
    held.release()
    assert refused.acquire() is None
    refused.release()
    assert not list((bench.root / "a/local/claims").iterdir())
    shared = claims.shared_directory()
    assert shared is not None
    assert not (shared / key("one")).exists()


def test_claim_is_refused_while_another_attempt_started_and_did_not_finish(bench: Bench) -> None:
    [(store, claim)] = attempts(bench, "a")
    other = store.at(key("one"), 2)
    other.path.mkdir()
    assert claim.acquire() is None
    claim.release()
    other.claim.touch()
    assert claim.acquire() == other


def test_a_directory_that_others_can_write_to_is_not_shared(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(_, claim)] = attempts(bench, "a")
    monkeypatch.setattr(claims, "Path", lambda _: tmp_path / "tmp")
    directory = tmp_path / "tmp" / f"nel-action-{os.getuid()}"
    directory.mkdir(parents=True)
    directory.chmod(0o777)
    assert claims.shared_directory() is None
    directory.chmod(0o700)
    assert claims.shared_directory() == directory
    directory.rename(tmp_path / "target")
    directory.symlink_to(tmp_path / "target")
    assert claims.shared_directory() is None
    assert claim.acquire() is None
    claim.release()


def test_an_attempt_whose_supervisor_cannot_be_started_is_not_rejected(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, one = bench.executor(), job("one", "pass")
    monkeypatch.setattr(executor_module, "ensure_supervisor", _cannot_start)
    with pytest.raises(UnreachableError, match="cannot start"):
        executor.submit(one, 1, INVOCATION)
    assert executor.find([one.key])[one.key].number == 1


def _cannot_start(*_: object) -> bool:
    from nel_action.errors import ExecutorError

    msg = "cannot start the supervisor of it: Resource temporarily unavailable"
    raise ExecutorError(msg)
