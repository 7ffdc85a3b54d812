from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.model.env_ref import EnvRef, EnvSource


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
