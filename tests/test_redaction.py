"""Tests of the redaction of secrets in all their encodings."""

from __future__ import annotations

import base64
import json
import shlex
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.redaction import HIDDEN, MutableRedactor, Redactor, derived_forms, named_variables, secret_values

KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBmYWtlLWtleS1mb3ItYS10ZXN0LW5vdC1hLXJlYWwta2V5LSEAAAAAAAAA
-----END OPENSSH PRIVATE KEY-----
"""
AWKWARD = "sk-\"Aé/+ &%'$<x>"


def test_redactor_removes_every_encoding_of_a_secret() -> None:
    redact = Redactor([AWKWARD])
    texts = [
        AWKWARD,
        quote(AWKWARD),
        quote_plus(AWKWARD),
        json.dumps(AWKWARD),
        json.dumps(json.dumps({"key": AWKWARD})),
        shlex.quote(AWKWARD),
        AWKWARD.encode().hex(),
        base64.b64encode(AWKWARD.encode()).decode(),
        base64.urlsafe_b64encode(AWKWARD.encode()).decode(),
        repr({"key": AWKWARD}),
    ]
    for text in texts:
        assert HIDDEN in redact(text), text


@given(st.text(string.printable, min_size=12, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_redactor_removes_base64_at_every_offset(secret: str, before: bytes, after: bytes) -> None:
    secret = f"k{secret.strip()}k"
    if "\n" in secret or "\r" in secret:
        return
    text = base64.b64encode(before + secret.encode() + after).decode()
    assert HIDDEN in Redactor([secret])(text)


def test_redactor_removes_each_line_of_a_key() -> None:
    redact = Redactor([KEY])
    for line in KEY.splitlines():
        assert redact(f"debug: {line} end") == f"debug: {HIDDEN} end"


def test_redactor_removes_each_line_of_wrapped_base64() -> None:
    redact = Redactor([KEY])
    text = base64.encodebytes(KEY.encode()).decode()
    assert redact(text).split() == [HIDDEN] * len(text.split())


def test_derived_forms_have_no_line_breaks_and_a_minimum_length() -> None:
    assert all("\n" not in form and len(form) >= 4 for form in derived_forms(KEY) | derived_forms("a\nbc\ndef"))
    assert derived_forms("") == frozenset()


def test_redactor_removes_the_longest_secret_first() -> None:
    assert Redactor(["token", "token-of-mine"])("my token-of-mine") == f"my {HIDDEN}"


def test_redactor_without_secrets_changes_nothing() -> None:
    assert Redactor([])("plain") == "plain"
    assert not Redactor([]).finds(b"plain")


def test_finds_searches_bytes_for_every_encoding() -> None:
    assert Redactor(["s3cret-value"]).finds(b"\x00" + base64.b64encode(b"s3cret-value"))


def test_secret_values_omits_unset_and_empty_variables() -> None:
    assert secret_values({"A": "x", "B": ""}, ["A", "B", "C"]) == {"A": "x"}


QUOTED = 's3cr3t/with "quotes" & ümlaut'


@pytest.mark.parametrize(
    "form",
    [
        QUOTED,
        json.dumps(QUOTED)[1:-1],
        quote(QUOTED, safe=""),
        base64.b64encode(QUOTED.encode()).decode(),
        base64.urlsafe_b64encode(QUOTED.encode()).decode().rstrip("="),
    ],
)
def test_redactor_removes_a_quoted_secret_in_every_form(form: str) -> None:
    assert Redactor([QUOTED])(f"Bearer {form}!").replace("=", "") == "Bearer ***!"


def test_redactor_removes_the_longer_of_two_secrets_completely() -> None:
    assert Redactor(["token", "token-and-more"])("token-and-more, token") == "***, ***"


@pytest.mark.parametrize("value", ["", "1", "abc", "true", "None", "12345", "EMPTY"])
def test_redactor_keeps_values_that_are_too_common_to_be_secret(value: str) -> None:
    assert Redactor([value])("true abc 12345 None EMPTY 1") == "true abc 12345 None EMPTY 1"


def test_redactor_removes_each_line_of_a_secret() -> None:
    assert Redactor(["first line\nsecond line"])("a first line, a second line") == "a ***, a ***"


def test_mutable_redactor_removes_secrets_that_are_added_later() -> None:
    redact = MutableRedactor(["first-secret"])
    assert redact("first-secret second-secret") == "*** second-secret"
    redact.add(["second-secret"])
    assert redact("first-secret second-secret") == "*** ***"


def test_named_variables_finds_references_and_keys_that_name_variables() -> None:
    spec = {
        "target": {"api_endpoint": {"api_key_name": "MODEL_KEY", "model_id": "tiny"}},
        "env_vars": {"A": "host:HUB_TOKEN", "B": "lit:host:no", "C": "runtime:THERE"},
        "tasks": [{"params": {"judge_key_name": "JUDGE_KEY"}}],
    }
    assert sorted(named_variables(spec)) == ["HUB_TOKEN", "JUDGE_KEY", "MODEL_KEY"]
