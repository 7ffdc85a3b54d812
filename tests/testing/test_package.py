"""What the package promises to those who write plug-ins."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from nel_action.executors.interface import Executor
from nel_action.testing.executor_suite import ExecutorBench
from nel_action.testing.expect import eventually, expect, expect_error

DOCS = Path(__file__).parents[2] / "docs" / "executors" / "custom.md"


def test_it_needs_no_pytest_and_nothing_of_ours_needs_it() -> None:
    look = (
        "import sys, nel_action.testing.executor_suite; assert 'pytest' not in sys.modules\n"
        "import subprocess; code = 'import sys, nel_action.cli.app, nel_action.api, nel_action.executors.registry\\n'\n"
        "code += 'assert not [name for name in sys.modules if name.startswith(\"nel_action.testing\")]'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)"
    )
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)


@pytest.mark.parametrize("name", [name for name in vars(Executor) if not name.startswith("_")])
def test_every_method_is_in_the_docs(name: str) -> None:
    assert f"`{name}" in DOCS.read_text()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ExecutorBench)])
def test_every_field_of_the_bench_is_in_the_docs(field: str) -> None:
    text = DOCS.read_text()
    assert f"`{field}`" in text or f"{field}=" in text


def test_expectations_hold_whatever_python_is_told() -> None:
    with pytest.raises(AssertionError, match="four"):
        expect(2 + 2 == 5, "four")
    with pytest.raises(AssertionError, match="nothing came"), expect_error(ValueError, "nothing came"):
        pass
    with expect_error(ValueError, "nothing came"):
        int("x")
    seen = iter(range(9))
    assert eventually(lambda: next(seen), lambda number: number == 3, limit=5, message="no three") == 3
    with pytest.raises(AssertionError, match="no ten within 0 s; last seen: 4"):
        eventually(lambda: next(seen), lambda number: number == 10, limit=0, message="no ten")
