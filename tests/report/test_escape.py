from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.report import escape


@given(st.text())
def test_text_is_one_line_without_hidden_characters(value: str) -> None:
    escaped = escape.text(value)
    assert len(escaped.splitlines()) <= 1
    assert "<" not in escaped
    assert "\u202e" not in escaped


@given(st.text(alphabet="ab|`\\", max_size=20))
def test_text_escapes_every_pipe(value: str) -> None:
    escaped = escape.text(value)
    unescaped = escaped.replace("\\\\", "").replace("\\|", "")
    assert "|" not in unescaped


@pytest.mark.parametrize("live", ["@user", "#12", "https://e.example", "www.e.example", "GH-12", "mailto:a"])
def test_text_breaks_whatever_github_would_link(live: str) -> None:
    assert live not in escape.text(f"see {live} now").replace("\\", "")


def test_text_is_truncated_at_the_limit() -> None:
    assert escape.text("a" * 400, limit=10) == "a" * 9 + "…"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//e.example", "ftp://e.example", "x"])
def test_link_rejects_other_schemes_than_http(url: str) -> None:
    assert escape.link("label", url) is None


def test_link_escapes_label_and_url() -> None:
    assert escape.link("a]b", "https://e.example/a b)|<x>") == r"[a\]b](https://e.example/a%20b%29%7C%3Cx%3E)"
