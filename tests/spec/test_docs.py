"""The reference and the JSON Schema agree with the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from nel_action.cli.schema import schema as command
from nel_action.spec.defaults import GROUPS
from nel_action.spec.introspection import field_docs, fields_of
from nel_action.spec.model import Spec
from nel_action.spec.reference import reference
from nel_action.spec.schema import json_schema, models

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCHEMA = json_schema()
MOVED = {"local_nemotron-3-super-120b-a12b", "local_nemotron-3-super-120b-a12b_low_budget"}
"""Examples with old keys, which are accepted, but are not in the schema."""
LAUNCHER = [file for file in (ROOT / "tests/spec/launcher").glob("*.yaml") if file.stem not in MOVED]
EXAMPLES = sorted([*ROOT.glob("examples/*.yaml"), *LAUNCHER])


def test_reference_is_up_to_date() -> None:
    current = (ROOT / "docs" / "spec.md").read_text()
    expected = (ROOT / "docs" / "spec.in.md").read_text() + reference()
    assert current == expected, "run scripts/docs"


def test_table_lists_all_groups() -> None:
    text = (ROOT / "docs" / "spec.in.md").read_text()
    for group in ("execution", "deployment"):
        for file in (GROUPS / group).rglob("*.yaml"):
            assert f"`{file.relative_to(GROUPS / group).with_suffix('').as_posix()}`" in text


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_all_fields_have_docstrings(model: type[BaseModel]) -> None:
    docs = field_docs(model)
    for name in model.model_fields:
        assert docs.get(name), f"{model.__name__}.{name} has no docstring"
        assert "\n" not in docs[name]


def test_reference_contains_all_keys() -> None:
    text = reference()
    for model in models():
        for key in fields_of(model):
            assert f"\n| `{key}` | " in text


def test_schema_describes_all_top_level_keys() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in Spec.model_fields:
        assert schema["properties"][name]["description"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_valid_specs_match_the_schema(file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)


@pytest.mark.parametrize(
    "spec",
    [
        {"exportt": {}},
        {"execution": {"outptu_dir": "x"}},
        {"execution": {"type": "local", "partition": "x"}},
        {"deployment": {"type": "vllm", "weights": {}}},
        {"evaluation": {"tasks": [{"nmae": "x"}]}},
        {"evaluation": {"tasks": [{}]}},
        {"gate": {"tasks": {"a": {"tier": "crit"}}}},
        {"execution": {"parallelism": "many"}},
        {"execution": {"parallelism": 0}},
    ],
)
def test_invalid_specs_do_not_match_the_schema(spec: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, SCHEMA)


@pytest.mark.parametrize(
    "spec",
    [
        {"execution": {"parallelism": "???", "output_dir": "${oc.env:USER}"}},
        {"execution": {"parallelism": "${a.b}"}},
        {"execution": {"type": "plugin", "anything": 1}},
        {"defaults": [{"execution": "local"}, "_self_"], "deployment": {"image": "x"}},
    ],
)
def test_placeholders_interpolations_and_plugins_match_the_schema(spec: dict[str, Any]) -> None:
    jsonschema.validate(spec, SCHEMA)


def test_command_prints_the_schema() -> None:
    printed = CliRunner().invoke(command, [])
    assert printed.exit_code == 0
    assert json.loads(printed.output) == json_schema()
