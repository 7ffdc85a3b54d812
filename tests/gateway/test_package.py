"""The package runs alone, on old Pythons, in foreign containers."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from nel_action import gateway

FILES = sorted(Path(gateway.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_syntax_is_that_of_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_are_of_the_standard_library_or_the_package_itself(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names or name.startswith("nel_action.gateway"), name
