"""Exports: validation before submission, and failures that do not change the verdict."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.workplace import Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def commit_spec(workplace: Workplace, **exports: object) -> None:
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR, export=exports)
    workplace.commit()


def test_invalid_export_settings_stop_the_run(workplace: Workplace) -> None:
    commit_spec(workplace, local={"frmat": "csv"})
    result = workplace.act("push", {}, comment="off")
    assert (result.code, result.outputs["exit-code"], result.outputs["invocation-id"]) == (2, "2", "")
    (message,) = [error for error in result.commands("error") if "frmat" in error]
    assert "did you mean 'format'" in message


def test_results_are_exported_and_failures_do_not_change_the_verdict(workplace: Workplace, tmp_path: Path) -> None:
    commit_spec(workplace, local={"output_dir": str(tmp_path / "out")}, gsheets={"spreadsheet_id": "x"})
    result = workplace.act("push", {}, comment="off")
    assert (result.code, result.outputs["verdict"]) == (0, "pass")
    data = json.loads((tmp_path / "out" / "processed_results.json").read_text())
    (entry,) = data["benchmarks"]["arith"]["models"]["tiny"]
    assert (entry["scores"]["accuracy"], entry["verdict"], entry["gate"]["verdict"]) == (0.8, "pass", "pass")
    assert "link.workflow run and artifacts" in entry
    for level in ("warning", "error"):
        assert any("Google" in message or "gspread" in message for message in result.commands(level)), level
