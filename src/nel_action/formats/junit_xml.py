"""JUnit XML of any test runner: one task for each test suite, one item for each case.

The metric is `pass_rate`. A failure or an error is 0; a skipped case is no measurement. The file does not record cases
that a runner never started, so that an aborted run can only be noticed by the suite's own count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from nel_action.errors import ResultsError
from nel_action.formats.cases import Case, parsed_cases
from nel_action.formats.parsing import (
    TRUNCATED,
    DetectedResult,
    ParsedResult,
    find_files,
    read_content,
    recorded_task,
    schema_guard,
)
from nel_action.model.task import HarnessTask

__all__ = ["detect", "read"]

METRIC: Final = "pass_rate"
_PATTERNS: Final = ("*.xml", "*/*.xml")
_FAILED: Final = {"failure", "error"}
_NOT_RUN: Final = {"notrun", "disabled", "skipped", "suppressed", "ignored"}
"""Values of `status` and `result` of cases without a `skipped` element (GoogleTest)."""


def detect(path: Path) -> list[DetectedResult]:
    """Find test suites; other XML files are ignored.

    Raises:
        ResultsError: a JUnit file is truncated or malformed.
    """
    results = []
    for file in find_files(path, _PATTERNS):
        if b"<testsuite" in read_content(file):
            names = dict.fromkeys(name for name, _ in _suites(file))
            results += [DetectedResult(task=recorded_task(name), artifacts=file) for name in names]
    return results


def read(path: Path, task: HarnessTask) -> ParsedResult:
    """Read one test suite.

    Args:
        path: the XML file.
        task: the suite as it was detected.

    Raises:
        ResultsError: the file is truncated or malformed, lacks the suite, or all of its cases were skipped.
    """
    suites = [suite for name, suite in _suites(path) if name == task.name]
    if not suites:
        msg = f"{path.name} contains no test suite {task.name}"
        raise ResultsError(msg)
    with schema_guard(path.name):
        cases = [_case(element, path) for suite in suites for element in suite.findall("testcase")]
        stated = [_stated_count(suite) for suite in suites]
    lacking = sum(max(0, count - len(suite.findall("testcase"))) for count, suite in zip(stated, suites, strict=True))
    measured = {case.id for case in cases if case.values}
    return parsed_cases(
        cases, task, metrics={METRIC: True}, n_expected=len(measured) + lacking if lacking else len(measured)
    )


class _Builder(TreeBuilder):
    """Builds elements; rejects document types, whose entities can expand without limit."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Reject the document type.

        Args:
            name: its name.
            pubid: its public identifier.
            system: its system identifier.

        Raises:
            ValueError: always.
        """
        del pubid, system
        msg = f"the document type {name} is not supported"
        raise ValueError(msg)


def _parse(path: Path) -> Element:
    parser = XMLParser(target=_Builder())  # noqa: S314 - no document type, thus no entities
    try:
        parser.feed(read_content(path))
        root = parser.close()
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        msg = f"{path.name} is not valid XML: {error}"
        raise ResultsError(msg, hint=TRUNCATED) from error
    if root.tag not in {"testsuites", "testsuite"}:
        msg = f"{path.name} is not JUnit XML"
        raise ResultsError(msg, hint="its first element must be testsuites or testsuite")
    return root


def _suites(path: Path) -> Iterator[tuple[str, Element]]:
    """Yield the suites that have cases of their own, with their names."""
    for suite in _parse(path).iter("testsuite"):
        if suite.find("testcase") is not None:
            yield suite.get("name") or path.stem, suite


def _stated_count(suite: Element) -> int:
    """Return the count of cases that the suite states; 0 if it has nested suites, which may be included."""
    text = suite.get("tests", "")
    return int(text) if text.isascii() and text.isdecimal() and suite.find("testsuite") is None else 0


def _case(element: Element, path: Path) -> Case:
    """Return one case.

    Raises:
        ResultsError: it has no name.
    """
    name = element.get("name")
    if not name:
        msg = f"{path.name} contains a test case without a name"
        raise ResultsError(msg)
    failures = [child for child in element if child.tag in _FAILED]
    is_skipped = element.find("skipped") is not None
    is_skipped = is_skipped or {element.get("status", ""), element.get("result", "")} & _NOT_RUN != set()
    values = {METRIC: 0.0} if failures else {} if is_skipped else {METRIC: 1.0}
    output = "\n".join(text for child in failures for text in (child.get("message"), child.text) if text)
    return Case(id=f"{element.get('classname', '')}::{name}", values=values, output=output or None)
