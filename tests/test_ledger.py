from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nel_action.errors import AmbiguousError, NotFoundError, UsageError
from nel_action.ledger import AttemptRow, InvocationRow, Ledger, now, run_dir_of
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason

ID = "ab" * 8


def invocation(identity: str = ID, run_dir: Path = Path("/runs/x")) -> InvocationRow:
    return InvocationRow(id=identity, created=now(), run_dir=run_dir, spec="s.yaml", executor="local")


def attempt(identity: str = ID, job: int = 0, number: int = 1) -> AttemptRow:
    return AttemptRow(invocation=identity, job=job, number=number, name="a", key=Key(f"nel-{job}"), intended=now())


def test_rows_are_visible_to_other_connections(tmp_path: Path) -> None:
    writer, reader = Ledger(tmp_path), Ledger(tmp_path)
    writer.add(invocation())
    row = attempt()
    writer.intend([row])
    assert reader.attempts(ID) == [row]
    failed = JobStatus(state=JobState.FAILED, reason=Reason.HARNESS, detail="d", exit_code=3)
    updated = replace(row, backend_id="x", recorded=now()).updated(failed)
    writer.record(updated)
    assert reader.attempts(ID) == [updated]
    assert reader.invocation("abab").id == ID


def test_intend_keeps_a_recorded_attempt(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(invocation())
    ledger.intend([attempt()])
    ledger.record(replace(attempt(), backend_id="x"))
    ledger.intend([attempt()])
    assert ledger.attempts(ID)[0].backend_id == "x"


def test_invocation_needs_an_unambiguous_prefix(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for identity in ("aa11" * 4, "aa22" * 4):
        ledger.add(invocation(identity))
    assert ledger.invocation("aa1").id == "aa11" * 4
    assert ledger.invocation("aa11.3").id == "aa11" * 4
    for prefix in ("aa", "", "zz", "%", "a_1"):
        with pytest.raises(NotFoundError):
            ledger.invocation(prefix)
    with pytest.raises(AmbiguousError, match="aa11aa11aa11aa11, aa22aa22aa22aa22"):
        ledger.invocation("aa")


def test_concurrent_writers_lose_no_row(tmp_path: Path) -> None:
    Ledger(tmp_path).add(invocation())

    def write(start: int) -> None:
        with Ledger(tmp_path) as ledger:
            for job in range(start, start + 25):
                ledger.intend([attempt(job=job)])
                ledger.record(replace(attempt(job=job), backend_id=str(job)))

    threads = [threading.Thread(target=write, args=(n * 25,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = Ledger(tmp_path).attempts(ID)
    assert [row.backend_id for row in rows] == [str(n) for n in range(100)]


class Interrupted(list[AttemptRow]):
    """Rows whose iteration is interrupted, as by a signal in the middle of a transaction."""

    def __iter__(self) -> Iterator[AttemptRow]:
        raise KeyboardInterrupt


def test_interrupted_transaction_is_rolled_back_and_releases_its_lock(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ledger.add(invocation(), Interrupted())
    assert ledger.invocations() == []
    with Ledger(tmp_path) as other:
        other.add(invocation())
    assert [row.id for row in ledger.invocations()] == [ID]


def test_opening_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(UsageError, match="newer nel-action"):
        Ledger(tmp_path)


def test_run_dir_of_accepts_a_run_directory_or_a_prefix(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "invocation.json").write_text("{}")
    assert run_dir_of(str(run), tmp_path / "home") == run
    ledger = Ledger(tmp_path / "home")
    ledger.add(invocation("cd" * 8, run))
    assert run_dir_of("cd", tmp_path / "home") == run


def test_parse_inverts_asdict() -> None:
    row = replace(attempt(), state=JobState.FAILED, reason=Reason.TIME_LIMIT, reused=True, backend_id="x")
    assert AttemptRow.parse(asdict(row)) == row


def test_parse_rejects_an_unknown_state_and_drops_an_unknown_reason() -> None:
    data = asdict(attempt())
    with pytest.raises(ValueError, match="'paused' is not a valid JobState"):
        AttemptRow.parse(data | {"state": "paused"})
    assert AttemptRow.parse(data | {"state": "failed", "reason": "of a later version"}).reason is None


def test_updated_keeps_the_start_that_a_later_status_omits() -> None:
    running = attempt().updated(JobStatus(state=JobState.RUNNING, started="2026-01-01T00:00:00Z"))
    ended = running.updated(JobStatus(state=JobState.SUCCEEDED, exit_code=0, ended="2026-01-01T00:01:00Z"))
    assert (ended.state, ended.exit_code) == (JobState.SUCCEEDED, 0)
    assert (ended.started, ended.ended) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")


def test_backend_attempt_carries_key_number_and_backend_id() -> None:
    row = replace(attempt(number=3), backend_id="x", recorded="2026-01-01T00:00:00Z")
    expected = Attempt(key=Key("nel-0"), number=3, backend_id="x", submitted="2026-01-01T00:00:00Z")
    assert row.backend_attempt == expected
    assert (row.submitted, attempt().submitted) == (True, False)


def test_record_never_replaces_a_final_state_by_an_earlier_observation(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(invocation(), [attempt()])
    finished = replace(attempt(), backend_id="x").updated(JobStatus(state=JobState.SUCCEEDED, exit_code=0))
    ledger.record(finished)
    for state in (JobState.PENDING, JobState.RUNNING, JobState.UNKNOWN):
        ledger.record(replace(finished, state=state, exit_code=None))
    assert [row.state for row in ledger.attempts(ID)] == [JobState.SUCCEEDED]
