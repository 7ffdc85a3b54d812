from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.report import escape


@given(st.text())
def test_result_is_one_line_without_hidden_characters(value: str) -> None:
    shown = escape.text(value)
    assert len(shown.splitlines()) <= 1
    assert "<" not in shown
    assert "\u202e" not in shown


@given(st.text(alphabet="ab|`\\", max_size=20))
def test_every_pipe_is_escaped(value: str) -> None:
    shown = escape.text(value)
    unescaped = shown.replace("\\\\", "").replace("\\|", "")
    assert "|" not in unescaped


@pytest.mark.parametrize("live", ["@user", "#12", "https://e.example", "www.e.example", "GH-12", "mailto:a"])
def test_what_github_would_link_is_broken(live: str) -> None:
    assert live not in escape.text(f"see {live} now").replace("\\", "")


def test_long_text_is_cut() -> None:
    assert escape.text("a" * 400, limit=10) == "a" * 9 + "…"


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//e.example", "ftp://e.example", "x"])
def test_only_http_links_are_made(url: str) -> None:
    assert escape.link("label", url) is None


def test_link_cannot_end_early() -> None:
    assert escape.link("a]b", "https://e.example/a b)|<x>") == r"[a\]b](https://e.example/a%20b%29%7C%3Cx%3E)"
