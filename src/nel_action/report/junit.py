"""The report as JUnit XML: one test case per task and model, with fractions for machines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, assert_never
from xml.etree import ElementTree as ET

from nel_action.gating.verdict import Verdict
from nel_action.model.results import TaskResult
from nel_action.report.model import Report
from nel_action.report.rows import Row, rows_of

__all__ = ["render_junit"]

# NOTE: characters that XML 1.0 does not allow, not even as references (https://www.w3.org/TR/xml/#charsets).
_INVALID: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> bytes:
    """Render fail as failure, unmeasurable as error, and inconclusive and advisory verdicts as skipped."""
    rows = rows_of(report)
    suite = ET.Element("testsuite", name="nel-action", tests=str(len(rows)))
    _add_properties(suite, _report_properties(report))
    for row in rows:
        _add_case(suite, row)
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{sum(row.result.seconds or 0 for row in rows if row.result):.3f}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    rendered: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return rendered + b"\n"


def _add_case(suite: ET.Element, row: Row) -> None:
    seconds = row.result.seconds if row.result and row.result.seconds else 0.0
    case = ET.SubElement(suite, "testcase", classname=_valid(row.model), name=_valid(row.task), time=f"{seconds:.3f}")
    _add_properties(case, _row_properties(row))
    tag = _outcome_tag(row)
    if tag:
        outcome = ET.SubElement(case, tag, message=_valid(row.reason or row.verdict_text), type=row.verdict_text)
        outcome.text = _valid("\n".join(row.reasons))


def _add_properties(element: ET.Element, values: Mapping[str, object]) -> None:
    properties = ET.SubElement(element, "properties")
    for name, value in values.items():
        if value is not None:
            ET.SubElement(properties, "property", name=_valid(name), value=_valid(value))


def _report_properties(report: Report) -> dict[str, object]:
    results, metadata = report.results, report.metadata
    return {
        "invocation": results.invocation,
        "repository": results.repository,
        "commit": results.commit,
        "pull request": metadata.pull_request,
        "verdict": report.gate.verdict.value if report.gate.tasks else None,
        "baseline": report.gate.baseline,
        "spec digest": results.spec_digest,
        "nel-action": results.tool_version,
        "executor": metadata.executor,
        **{f"link: {link.label}": link.url for link in metadata.links},
    }


def _outcome_tag(row: Row) -> str | None:
    """Return the element for a case that did not pass; None for a pass or an ungated score."""
    if row.verdict is None:
        return "error" if row.no_result else None
    if row.advisory and row.has_problem:
        return "skipped"
    match row.verdict:
        case Verdict.PASS:
            return None
        case Verdict.FAIL:
            return "failure"
        case Verdict.UNMEASURABLE:
            return "error"
        case Verdict.INCONCLUSIVE:
            return "skipped"
        case _:
            assert_never(row.verdict)


def _row_properties(row: Row) -> dict[str, object]:
    comparison = row.comparison
    return {
        "metric": row.metric,
        "score": row.score,
        "stderr": row.stderr,
        "items": row.n,
        "baseline": comparison.baseline if comparison else None,
        "difference": comparison.difference if comparison else None,
        "verdict": row.verdict_text,
        **(_result_properties(row.result) if row.result else {}),
    }


def _result_properties(result: TaskResult) -> dict[str, object]:
    return {
        "job": result.job_id,
        "harness": result.harness,
        "harness version": result.harness_version,
        "task version": result.task_version,
        "task digest": result.task_hash,
        "image": result.image,
        "environment": result.environment,
        "parameters": json.dumps(result.params, sort_keys=True, default=str) if result.params else None,
    }


def _valid(value: object) -> str:
    return _INVALID.sub("\N{REPLACEMENT CHARACTER}", str(value))
