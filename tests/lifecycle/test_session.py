from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_session

from nel_action.errors import NotFoundError
from nel_action.ledger import Ledger
from nel_action.lifecycle.session import open_session, write_scripts
from nel_action.lifecycle.submit import submit


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> MemoryExecutor:
    """Return the executor that sessions open."""
    executor = MemoryExecutor()
    monkeypatch.setattr("nel_action.lifecycle.session.open_executor", lambda *_arguments: executor)
    return executor


def test_open_session_closes_executor_and_ledger(tmp_path: Path, executor: MemoryExecutor) -> None:
    created = new_session(make_test_plan("a"), executor, tmp_path)
    with open_session(created.invocation.id[:6], home=created.ledger.home, environ={}) as session:
        assert session.invocation == created.invocation
        assert "close" not in executor.calls
    assert executor.calls[-1] == "close"
    with pytest.raises(sqlite3.ProgrammingError):
        session.attempts()


def test_open_session_closes_the_ledger_of_an_unknown_invocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Ledger] = []

    def close(ledger: Ledger) -> None:
        closed.append(ledger)

    monkeypatch.setattr(Ledger, "close", close)
    with pytest.raises(NotFoundError), open_session("ffffffff", home=tmp_path, environ={}):
        pass
    assert len(closed) == 1


def test_views_without_attempt_are_pending_and_not_submitted(tmp_path: Path) -> None:
    session = new_session(make_test_plan("a"), MemoryExecutor(), tmp_path)
    (view,) = session.views()
    assert (view.state, view.attempt, view.submitted) == ("pending", None, None)
    submit(session)
    (view,) = session.views()
    assert view.submitted is view.attempt is not None


def test_write_scripts_creates_executable_files(tmp_path: Path) -> None:
    session = new_session(make_test_plan("a", "b"), MemoryExecutor(), tmp_path)
    write_scripts(session)
    run_dir = session.invocation.run_dir
    scripts = [run_dir / "a" / "run.sh", run_dir / "b" / "run.sh", run_dir / "run_all.sh"]
    assert all(path.stat().st_mode & 0o111 for path in scripts)
