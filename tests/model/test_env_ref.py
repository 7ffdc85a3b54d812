from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from nel_action.model.env_ref import EnvRef, EnvSource, host_names, runtime_names


@given(source=st.sampled_from(EnvSource), value=st.text())
def test_parse_inverts_str(source: EnvSource, value: str) -> None:
    ref = EnvRef(source, value)
    assert EnvRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "NAME", "env:NAME", "HOST:NAME", " host:NAME"])
def test_parse_refuses_an_unknown_prefix(text: str) -> None:
    with pytest.raises(ValueError, match=r"prefix|not a valid EnvSource"):
        EnvRef.parse(text)


def test_exactly_one_accessor_returns_the_value() -> None:
    for ref in (EnvRef.host("A"), EnvRef.runtime("A"), EnvRef.literal("A")):
        assert [ref.host_name, ref.runtime_name, ref.literal_value].count("A") == 1


def test_only_literals_are_not_secret() -> None:
    assert [EnvRef.host("A").secret, EnvRef.runtime("A").secret, EnvRef.literal("A").secret] == [True, True, False]


def test_pydantic_reads_and_writes_the_textual_form() -> None:
    adapter = TypeAdapter(dict[str, EnvRef])
    variables = {"A": EnvRef.host("B"), "C": EnvRef.literal("x:y")}
    data = b'{"A":"host:B","C":"lit:x:y"}'
    assert adapter.dump_json(variables) == data
    assert adapter.validate_json(data) == variables
    assert adapter.validate_python(variables) == variables
    assert adapter.validate_python({"A": "host:B", "C": "lit:x:y"}) == variables


@pytest.mark.parametrize("value", ["NAME", "env:NAME", 7, None])
def test_pydantic_rejects_what_is_no_reference(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(EnvRef).validate_python(value)


def test_the_json_schema_of_a_reference_is_a_string_with_a_prefix() -> None:
    assert TypeAdapter(EnvRef).json_schema() == {"type": "string", "pattern": "^(host|lit|runtime):"}


def test_names_are_sorted_and_listed_once() -> None:
    references = [EnvRef.host("B"), EnvRef.host("A"), EnvRef.host("B"), EnvRef.runtime("C"), EnvRef.literal("D")]
    assert (host_names(references), runtime_names(references)) == (["A", "B"], ["C"])
