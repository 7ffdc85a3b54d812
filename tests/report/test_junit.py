from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.support import reports

from nel_action.report.junit import render_junit


def test_junit_has_one_element_per_verdict() -> None:
    suite = ET.fromstring(render_junit(reports.failed()))[0]  # noqa: S314 - our own text
    outcome = {
        case.get("name"): [child.tag for child in case if child.tag != "properties"] for case in suite.iter("testcase")
    }
    expected = {"gsm8k": ["failure"], "mmlu": ["error"], "ifeval": ["skipped"], "style": ["skipped"], "arc": []}
    assert outcome == expected
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "1", "1", "2"]
    assert suite.get("time") == "650.000"


def test_junit_keeps_hostile_names_as_text() -> None:
    suite = ET.fromstring(render_junit(reports.hostile()))[0]  # noqa: S314 - our own text
    names = {case.get("name") for case in suite.iter("testcase")}
    assert names == {reports.HOSTILE.replace("\x1b", "\ufffd"), "y"}
