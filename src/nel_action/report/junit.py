"""The report as JUnit XML: one test case for each task and model."""

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

# NOTE: characters that XML 1.0 cannot hold in any spelling.
_UNSPEAKABLE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> bytes:
    """Render fail as failure, unmeasurable as error, inconclusive and advisory as skipped."""
    rows = rows_of(report)
    suite = ET.Element("testsuite", name="nel-action", tests=str(len(rows)))
    _properties(suite, _origin(report))
    for row in rows:
        _case(suite, row)
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{sum(row.result.seconds or 0 for row in rows if row.result):.3f}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    rendered: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return rendered + b"\n"


def _case(suite: ET.Element, row: Row) -> None:
    seconds = row.result.seconds if row.result and row.result.seconds else 0.0
    case = ET.SubElement(suite, "testcase", classname=_spoken(row.model), name=_spoken(row.task), time=f"{seconds:.3f}")
    _properties(case, _figures(row))
    tag = _tag(row)
    if tag:
        outcome = ET.SubElement(case, tag, message=_spoken(row.reason or row.word), type=row.word)
        outcome.text = _spoken("\n".join(row.reasons))


def _properties(element: ET.Element, known: Mapping[str, object]) -> None:
    properties = ET.SubElement(element, "properties")
    for name, value in known.items():
        if value is not None:
            ET.SubElement(properties, "property", name=_spoken(name), value=_spoken(value))


def _origin(report: Report) -> dict[str, object]:
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


def _tag(row: Row) -> str | None:
    if row.verdict is None:
        return "error" if row.broken else None
    if row.advisory and row.bad:
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


def _figures(row: Row) -> dict[str, object]:
    compared = row.comparison
    return {
        "metric": row.metric,
        "score": row.score,
        "stderr": row.stderr,
        "items": row.n,
        "baseline": compared.baseline if compared else None,
        "difference": compared.difference if compared else None,
        "verdict": row.word,
        **(_program(row.result) if row.result else {}),
    }


def _program(task: TaskResult) -> dict[str, object]:
    return {
        "job": task.job_id,
        "harness": task.harness,
        "harness version": task.harness_version,
        "task version": task.task_version,
        "task digest": task.task_hash,
        "image": task.image,
        "environment": task.environment,
        "parameters": json.dumps(task.params, sort_keys=True, default=str) if task.params else None,
    }


def _spoken(value: object) -> str:
    return _UNSPEAKABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))
