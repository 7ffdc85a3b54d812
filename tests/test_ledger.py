"""The ledger survives its writers and keeps several of them apart."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nel_action.errors import NotFoundError, UsageError
from nel_action.ledger import AttemptRow, InvocationRow, Ledger, now, run_dir_of


def invocation(identity: str, folder: Path = Path("/runs/x")) -> InvocationRow:
    return InvocationRow(id=identity, created=now(), run_dir=folder, spec="s.yaml", executor="local")


def attempt(identity: str, job: int = 0, number: int = 1) -> AttemptRow:
    return AttemptRow(invocation=identity, job=job, number=number, name="a", key=f"nel-{job}", intended=now())


def test_what_is_written_is_read_back_by_another(tmp_path: Path) -> None:
    one, two = Ledger(tmp_path), Ledger(tmp_path)
    one.add(invocation("ab" * 8))
    row = attempt("ab" * 8)
    one.intend([row])
    assert two.attempts("ab" * 8) == [row]
    seen = replace(row, backend_id="x", recorded=now(), state="failed", reason="harness", detail="d", exit_code=3)
    one.record(seen)
    assert two.attempts("ab" * 8) == [seen]
    assert two.invocation("abab").id == "ab" * 8


def test_an_intent_is_never_overwritten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(invocation("ab" * 8))
    ledger.intend([attempt("ab" * 8)])
    recorded = replace(attempt("ab" * 8), backend_id="x")
    ledger.record(recorded)
    ledger.intend([attempt("ab" * 8)])
    assert ledger.attempts("ab" * 8)[0].backend_id == "x"


def test_prefixes_must_be_unique(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for identity in ("aa11" * 4, "aa22" * 4):
        ledger.add(invocation(identity))
    assert ledger.invocation("aa1").id == "aa11" * 4
    assert ledger.invocation("aa11.3").id == "aa11" * 4
    for prefix in ("aa", "", "zz", "%", "a_1"):
        with pytest.raises(NotFoundError):
            ledger.invocation(prefix)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path).add(invocation("ab" * 8))

    def write(start: int) -> None:
        ledger = Ledger(tmp_path)
        for job in range(start, start + 25):
            ledger.intend([attempt("ab" * 8, job)])
            ledger.record(replace(attempt("ab" * 8, job), backend_id=str(job)))
        ledger.close()

    threads = [threading.Thread(target=write, args=(n * 25,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = Ledger(tmp_path).attempts("ab" * 8)
    assert [row.backend_id for row in rows] == [str(n) for n in range(100)]


def test_a_newer_ledger_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(UsageError, match="newer nel-action"):
        Ledger(tmp_path)


def test_a_run_directory_names_itself(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "invocation.json").write_text("{}")
    assert run_dir_of(str(run), tmp_path / "home") == run
    ledger = Ledger(tmp_path / "home")
    ledger.add(invocation("cd" * 8, run))
    assert run_dir_of("cd", tmp_path / "home") == run
