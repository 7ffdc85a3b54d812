"""A secret hides in many coats; each of them is known."""

from __future__ import annotations

import base64
import json
import shlex
import string
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from nel_action.redaction import HIDDEN, Redactor, derived_forms, secret_values

KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBmYWtlLWtleS1mb3ItYS10ZXN0LW5vdC1hLXJlYWwta2V5LSEAAAAAAAAA
-----END OPENSSH PRIVATE KEY-----
"""
AWKWARD = "sk-\"Aé/+ &%'$<x>"


def test_encoders_outputs_are_known() -> None:
    redact = Redactor([AWKWARD])
    coats = [
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
    for coat in coats:
        assert HIDDEN in redact(coat), coat


@given(st.text(string.printable, min_size=12, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_of_anything_around_it_shows_nothing(secret: str, before: bytes, after: bytes) -> None:
    secret = f"k{secret.strip()}k"
    if "\n" in secret or "\r" in secret:
        return
    coat = base64.b64encode(before + secret.encode() + after).decode()
    assert HIDDEN in Redactor([secret])(coat)


def test_every_line_of_a_key_is_hidden_alone() -> None:
    redact = Redactor([KEY])
    for line in KEY.splitlines():
        assert redact(f"debug: {line} end") == f"debug: {HIDDEN} end"


def test_wrapped_base64_of_a_key_is_hidden_line_by_line() -> None:
    redact = Redactor([KEY])
    text = base64.encodebytes(KEY.encode()).decode()
    assert redact(text).split() == [HIDDEN] * len(text.split())


def test_forms_have_no_line_breaks_and_nothing_tiny() -> None:
    assert all("\n" not in form and len(form) >= 4 for form in derived_forms(KEY) | derived_forms("a\nbc\ndef"))
    assert derived_forms("") == frozenset()


def test_the_longer_secret_goes_first() -> None:
    assert Redactor(["token", "token-of-mine"])("my token-of-mine") == f"my {HIDDEN}"


def test_nothing_to_hide_hides_nothing() -> None:
    assert Redactor([])("plain") == "plain"
    assert not Redactor([]).finds(b"plain")


def test_bytes_are_searched_too() -> None:
    assert Redactor(["s3cret-value"]).finds(b"\x00" + base64.b64encode(b"s3cret-value"))


def test_only_set_variables_have_values() -> None:
    assert secret_values({"A": "x", "B": ""}, ["A", "B", "C"]) == {"A": "x"}
