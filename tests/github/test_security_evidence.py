"""The table of attempts in docs/security.md: every row names a test that exists, and every class has rows."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/security.md").read_text()
ATTACKERS = {"stranger", "writer", "change", "model", "fault"}
CLASSES = {*(f"T{number}" for number in range(1, 10)), "L7", "C", "F", "W", "S"}
MIN_ROWS, MIN_ROWS_PER_CLASS = 60, 3


def read_rows(text: str) -> list[list[str]]:
    match = re.search(r"<!-- evidence.*?-->(.*?)<!-- end of evidence -->", text, re.DOTALL)
    assert match
    lines = [line for line in match[1].splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


ROWS = read_rows(TEXT)


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[2][:50]}")
def test_row_is_complete_and_names_an_existing_test(row: list[str]) -> None:
    kind, attacker, attempt, outcome, test = row
    assert kind in CLASSES
    assert attacker in ATTACKERS
    assert attempt
    assert outcome
    file, _, name = test.strip("`").partition("::")
    assert name.startswith("test_")
    assert name in names_of_tests(ROOT / "tests" / file)


def test_every_class_has_rows_and_no_attempt_is_listed_twice() -> None:
    assert len(ROWS) >= MIN_ROWS
    counts = Counter(row[0] for row in ROWS)
    assert {kind for kind in CLASSES if counts[kind] < MIN_ROWS_PER_CLASS} == set()
    assert [attempt for attempt, count in Counter((row[0], row[2]) for row in ROWS).items() if count > 1] == []


def test_classes_are_described() -> None:
    described = re.findall(r"\b([TLCFWS]\d?) \| [a-z]", TEXT.partition("<!-- evidence")[0])
    assert set(described) == CLASSES


def test_a_row_with_an_unknown_test_is_detected() -> None:
    row = ["T1", "change", "x", "y", "`github/test_escape.py::test_that_does_not_exist`"]
    with pytest.raises(AssertionError):
        test_row_is_complete_and_names_an_existing_test(row)
