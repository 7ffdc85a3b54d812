"""The package's promises to authors of plug-ins: dependencies, documentation and assertions."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from nel_action.executors import interface
from nel_action.executors.interface import Executor, Maintaining
from nel_action.testing.executor_suite import ExecutorBench
from nel_action.testing.expect import eventually, expect, expect_error

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs" / "executors" / "custom.md"
PROTOCOLS = [
    name
    for name, value in vars(interface).items()
    if getattr(value, "_is_protocol", False) and value.__module__ == interface.__name__
]


def test_suite_imports_without_pytest_and_is_not_imported_by_the_program() -> None:
    script = (
        "import sys, nel_action.testing.executor_suite; assert 'pytest' not in sys.modules\n"
        "import subprocess; code = 'import sys, nel_action.cli.app, nel_action.api, nel_action.executors.registry\\n'\n"
        "code += 'assert not [name for name in sys.modules if name.startswith(\"nel_action.testing\")]'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("name", [name for name in (*vars(Executor), *vars(Maintaining)) if not name.startswith("_")])
def test_docs_describe_every_method(name: str) -> None:
    assert f"`{name}" in DOCS.read_text()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_docs_name_every_protocol(name: str) -> None:
    assert f"`{name}`" in DOCS.read_text() or f".{name}`" in DOCS.read_text()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ExecutorBench)])
def test_docs_describe_every_field_of_the_bench(field: str) -> None:
    text = DOCS.read_text()
    assert f"`{field}`" in text or f"{field}=" in text


def test_expectations_raise_assertion_errors() -> None:
    with pytest.raises(AssertionError, match="four"):
        expect(2 + 2 == 5, "four")
    with pytest.raises(AssertionError, match="no error"), expect_error(ValueError, "no error"):
        pass
    with expect_error(ValueError, "no error"):
        int("x")


def test_eventually_returns_the_matching_value_or_fails_with_the_last_one() -> None:
    values = iter(range(9))
    assert eventually(lambda: next(values), lambda number: number == 3, timeout=5, message="no three") == 3
    with pytest.raises(AssertionError, match="no ten within 0 s; last seen: 4"):
        eventually(lambda: next(values), lambda number: number == 10, timeout=0, message="no ten")
