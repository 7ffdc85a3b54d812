from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import reports

from nel_action.errors import ResultsError
from nel_action.gating.verdict import Verdict
from nel_action.model.results import write_results
from nel_action.report.model import TrendPoint
from nel_action.report.store import load_report, save_report

WHEN = "2026-11-21T02:00:00Z"


def test_saved_report_is_loaded_unchanged(tmp_path: Path) -> None:
    report = reports.failed()
    point = TrendPoint(task="gsm8k", model="m", metric="x", when=WHEN, value=0.8, verdict=Verdict.PASS)
    report = replace(report, metadata=replace(report.metadata, run_dir=tmp_path, trend=(point,)))
    write_results(report.results, tmp_path / "results.json")
    save_report(report, tmp_path)
    assert load_report(tmp_path) == report


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema_version": "2.0"}', '{"schema_version": "1.0"}'])
def test_malformed_report_is_rejected(tmp_path: Path, text: str) -> None:
    write_results(reports.failed().results, tmp_path / "results.json")
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ResultsError, match=r"report\.json"):
        load_report(tmp_path)


def test_results_without_a_verdict_are_reported(tmp_path: Path) -> None:
    write_results(reports.failed().results, tmp_path / "results.json")
    with pytest.raises(ResultsError, match="have not been judged"):
        load_report(tmp_path)


def test_score_of_nan_is_rejected(tmp_path: Path) -> None:
    report = reports.failed()
    write_results(report.results, tmp_path / "results.json")
    path = save_report(report, tmp_path)
    data = json.loads(path.read_text())
    data["gate"]["tasks"][0]["score"] = float("nan")
    path.write_text(json.dumps(data))
    with pytest.raises(ResultsError):
        load_report(tmp_path)
