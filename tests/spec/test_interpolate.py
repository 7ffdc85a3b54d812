"""Interpolation: resolution, problems, and protection of secrets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from nel_action.errors import Location
from nel_action.spec.interpolate import interpolate
from nel_action.spec.nested import Loc

pytestmark = pytest.mark.slow

ENVIRON = {"USER": "me", "EMPTY": ""}


def no_location(loc: Loc) -> Location:
    return Location(Path("s.yaml"), len(loc))


def test_references_and_functions_are_resolved() -> None:
    data = {
        "a": 3,
        "b": "${a}",
        "c": {"d": "x${a}${oc.env:USER}", "e": "${oc.env:NOT_SET,5}", "f": ["${c.d}", None]},
        "g": "${oc.env:EMPTY}",
        "h": "${oc.select:missing,1}",
        "i": "${select_not_null:c.f,0}",
        "j": r"\${a}",
    }
    assert interpolate(data, ENVIRON, no_location) == []
    assert data == {
        "a": 3,
        "b": 3,
        "c": {"d": "x3me", "e": "5", "f": ["x3me", None]},
        "g": "",
        "h": 1,
        "i": ["x3me", None],
        "j": "${a}",
    }


def test_data_without_interpolation_does_not_import_omegaconf() -> None:
    code = (
        "import sys; from nel_action.spec.interpolate import interpolate; "
        "interpolate({'a': 'x'}, {}, None); print('omegaconf' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "False"


def test_failures_are_reported_and_other_values_resolved() -> None:
    data = {"a": "${nope}", "b": "${oc.env:NOT_SET}", "c": "${oc.env:USER}", "d": "x${c}", "e": "${oc.select:f,y}"}
    problems = interpolate(data, ENVIRON, no_location)
    assert [problem.message for problem in problems] == [
        "b refers to the variable NOT_SET, which is not set",
        "a refers to 'nope', which does not exist",
    ]
    assert (data["c"], data["d"], data["e"]) == ("me", "xme", "y")


@pytest.mark.parametrize("name", ["HF_TOKEN", "MY_API_KEY", "APIKEY", "DB_PASSWORD", "secret", "AWS_CREDENTIALS"])
def test_secrets_are_not_interpolated(name: str) -> None:
    environ: Mapping[str, str] = {name: "its value"}
    for text in (
        f"${{oc.env:{name}}}",
        f"${{oc.decode:${{oc.env:{name}}}}}",
        f"${{ oc.env : {name} }}",
        "${oc.env:${n}}",
    ):
        data = {"a": text, "n": name}
        [problem] = interpolate(data, environ, no_location)
        assert name in problem.message
        assert data["a"] == text


@pytest.mark.parametrize("name", ["USER", "MAX_TOKENS", "MONKEY", "KEYBOARD", "TOKENIZER"])
def test_variables_with_similar_names_are_interpolated(name: str) -> None:
    data = {"a": f"${{oc.env:{name}}}"}
    assert interpolate(data, {name: "x"}, no_location) == []
    assert data == {"a": "x"}
