from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.doubles.executor import MemoryExecutor
from tests.support.plans import make_test_plan, new_invocation, new_session

from nel_action.errors import NotFoundError, ResultsError
from nel_action.ledger import Ledger
from nel_action.lifecycle.invocation import load, open_invocation
from nel_action.lifecycle.submit import submit


def test_load_inverts_create(tmp_path: Path) -> None:
    plan = make_test_plan("a", "b")
    invocation = new_invocation(plan, tmp_path)
    assert re.fullmatch(r"\d{4}(-\d\d){5}-[0-9a-f]{16}", invocation.run_dir.name)
    again, attempts = load(invocation.run_dir)
    assert again == invocation
    assert attempts == []


def test_open_invocation_fills_an_empty_ledger_from_the_run_directory(tmp_path: Path) -> None:
    session = new_session(make_test_plan("a"), MemoryExecutor(), tmp_path)
    submit(session)
    elsewhere = Ledger(tmp_path / "elsewhere")
    opened = open_invocation(str(session.invocation.run_dir), elsewhere)
    assert opened.id == session.invocation.id
    assert elsewhere.attempts(opened.id) == session.ledger.attempts(opened.id)


@pytest.mark.parametrize("name", ["plan.json", "invocation.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"invocation": 1}'])
def test_load_rejects_an_incomplete_run_directory(tmp_path: Path, name: str, text: str) -> None:
    run_dir = new_invocation(make_test_plan("a"), tmp_path).run_dir
    (run_dir / name).write_text(text)
    with pytest.raises(ResultsError, match="not a complete run directory"):
        load(run_dir)


def test_open_invocation_rejects_a_deleted_run_directory(tmp_path: Path) -> None:
    session = new_session(make_test_plan("a"), MemoryExecutor(), tmp_path)
    session.invocation.run_dir.rename(tmp_path / "moved")
    with pytest.raises(NotFoundError, match="does not exist any more"):
        open_invocation(session.invocation.id, session.ledger)


def test_new_run_directory_contains_three_files_without_secrets(tmp_path: Path) -> None:
    run_dir = new_invocation(make_test_plan("a"), tmp_path).run_dir
    names = {path.name for path in run_dir.iterdir()}
    assert names == {"spec.yaml", "plan.json", "invocation.json"}
    assert json.loads((run_dir / "plan.json").read_text())["jobs"][0]["env"] == {}
