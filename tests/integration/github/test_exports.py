"""Exports of a gate: mistakes before anything is spent, and troubles that change no verdict."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.workplace import Workplace

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def pull(place: Workplace, **exports: object) -> None:
    place.write_spec({"arith": {"value": 0.8}}, FLOOR, export=exports)
    place.commit()


def test_a_mistake_in_exports_stops_the_run(place: Workplace) -> None:
    pull(place, local={"frmat": "csv"})
    done = place.act("push", {}, comment="off")
    assert (done.code, done.outputs["exit-code"], done.outputs["invocation-id"]) == (2, "2", "")
    (said,) = [one for one in done.commands("error") if "frmat" in one]
    assert "did you mean 'format'" in said


def test_results_go_where_the_spec_says_and_trouble_changes_no_verdict(place: Workplace, tmp_path: Path) -> None:
    pull(place, local={"output_dir": str(tmp_path / "out")}, gsheets={"spreadsheet_id": "x"})
    done = place.act("push", {}, comment="off")
    assert (done.code, done.outputs["verdict"]) == (0, "pass")
    data = json.loads((tmp_path / "out" / "processed_results.json").read_text())
    (entry,) = data["benchmarks"]["arith"]["models"]["tiny"]
    assert (entry["scores"]["accuracy"], entry["verdict"], entry["gate"]["verdict"]) == (0.8, "pass", "pass")
    assert "link.workflow run and artifacts" in entry
    for level in ("warning", "error"):
        assert any("Google" in one or "gspread" in one for one in done.commands(level)), "before and after"
