from __future__ import annotations

import io

import pytest

from nel_action.report.text_table import (
    LOG_WIDTH,
    Cell,
    Column,
    output_width,
    render_fields,
    render_table,
    single_line,
    use_color,
)

ROWS = [["gsm8k", "1,319", "fail: the score dropped by 5.3 pp"], ["ifeval", "541", "pass"]]
COLUMNS: list[Column | str] = ["task", Column(header="items", right=True), "verdict"]


def test_columns_are_aligned_under_their_headers() -> None:
    assert render_table(COLUMNS, ROWS).splitlines() == [
        "task    items  verdict",
        "gsm8k   1,319  fail: the score dropped by 5.3 pp",
        "ifeval    541  pass",
    ]


def test_header_can_be_left_out() -> None:
    assert render_table(COLUMNS, ROWS, header=False).splitlines()[0].startswith("gsm8k")


def test_no_rows_give_no_text() -> None:
    assert render_table(COLUMNS, []) == ""


def test_column_that_is_empty_in_every_row_is_left_out() -> None:
    assert render_table(["a", "b", "c"], [["1", "", "3"], ["4", "", "6"]]).splitlines() == ["a  c", "1  3", "4  6"]


@pytest.mark.parametrize("width", range(3, 60))
def test_no_line_exceeds_the_width_and_no_character_is_lost(width: int) -> None:
    text = render_table(["task", "x", "verdict"], ROWS, width=width)
    assert max(map(len, text.splitlines())) <= max(width, 7)
    assert sorted(text.replace(" ", "").replace("\n", "")) == sorted(
        "".join(["task", "x", "verdict", *(cell for row in ROWS for cell in row)]).replace(" ", "")
    )


def test_wrapped_cells_stay_in_their_column() -> None:
    assert render_table(COLUMNS, ROWS, width=30).splitlines() == [
        "task    items  verdict",
        "gsm8k   1,319  fail: the score",
        "               dropped by 5.3",
        "               pp",
        "ifeval    541  pass",
    ]


def test_minimum_width_is_kept_while_other_columns_can_shrink() -> None:
    columns: list[Column | str] = [Column(header="task", min_width=12), "verdict"]
    lines = render_table(columns, [["lm-harness.x", "word " * 8]], width=24).splitlines()
    assert lines[1].startswith("lm-harness.x  word word")
    assert max(map(len, lines)) <= 24


def test_wide_characters_take_two_columns() -> None:
    lines = render_table(
        ["a", "b"], [["数学", "1"], ["abcd", "2"], ["e\N{COMBINING ACUTE ACCENT}tc", "3"]]
    ).splitlines()
    assert lines[1] == "数学  1"
    assert lines[2] == "abcd  2"
    assert lines[3] == "e\N{COMBINING ACUTE ACCENT}tc   3"
    assert "数\n" in render_table(["a"], [["数学数学"]], width=3) + "\n"


def test_color_adds_only_escape_sequences() -> None:
    rows: list[list[Cell | str]] = [[Cell("fail", "red", bold=True), "x"], [Cell("pass"), "y"]]
    colored, plain = render_table(["a", "b"], rows, color=True), render_table(["a", "b"], rows)
    assert "\x1b[31m\x1b[1mfail\x1b[0m" in colored
    assert "\x1b" not in plain
    assert [line.split() for line in plain.splitlines()] == [["a", "b"], ["fail", "x"], ["pass", "y"]]


def test_outside_text_cannot_control_the_terminal() -> None:
    assert single_line("a\x1b[2J\nb\r\u202ec") == "a [2J b  c"
    assert "\x1b" not in render_table(["a\x1b"], [["b\x1b[2J"]])
    assert "\x1b" not in render_fields({"a": "b\x1b[2J"})


def test_fields_are_aligned_and_empty_ones_left_out() -> None:
    assert render_fields({"task": "gsm8k", "image": None, "attempt": 0, "detail": ""}, indent=2) == (
        "  task     gsm8k\n  attempt  0"
    )


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_width_of_a_log_is_fixed_and_columns_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert output_width(Stream(terminal=False)) == LOG_WIDTH
    monkeypatch.setenv("COLUMNS", "90")
    assert output_width(Stream(terminal=False)) == 90
    assert output_width(Stream(terminal=True)) == 90


def test_color_is_for_terminals_and_environment_variables_override_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert [use_color(Stream(terminal=terminal)) for terminal in (True, False)] == [True, False]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert use_color(Stream(terminal=False))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_color(Stream(terminal=True))
