from __future__ import annotations

import pytest
from tests.support import reports

from nel_action.report import columns
from nel_action.report.columns import Output, ScoreColumn
from nel_action.report.html import render_html
from nel_action.report.markdown import render_markdown
from nel_action.report.terminal import render_terminal


def test_column_added_in_one_place_appears_in_every_output(monkeypatch: pytest.MonkeyPatch) -> None:
    paired = ScoreColumn(
        key="paired",
        header="paired items",
        cell=lambda row: str(row.comparison.n_paired) if row.comparison else "",
        right=True,
    )
    monkeypatch.setattr(columns, "SCORE_COLUMNS", (*columns.SCORE_COLUMNS, paired))
    terminal = render_terminal(reports.passed()).splitlines()
    assert terminal[0].endswith("  paired items")
    assert terminal[1].endswith("           541")
    markdown = [line for line in render_markdown(reports.passed()).splitlines() if line.startswith("|")]
    assert markdown[0].endswith("| verdict | paired items |")
    assert markdown[1].endswith("|---|---:|")
    assert markdown[2].endswith("| pass | 541 |")
    html = render_html(reports.passed()).decode()
    assert ">paired items</th>" in html
    assert '<td role="cell" data-label="paired items" class="is-paired right">541</td>' in html


def test_column_is_shown_only_in_its_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    column = ScoreColumn(key="x", header="only here", cell=lambda _: "y", outputs=frozenset({Output.MARKDOWN}))
    monkeypatch.setattr(columns, "SCORE_COLUMNS", (*columns.SCORE_COLUMNS, column))
    assert "only here" in render_markdown(reports.passed())
    assert "only here" not in render_terminal(reports.passed())
    assert "only here" not in render_html(reports.passed()).decode()


@pytest.mark.parametrize("output", list(Output))
def test_keys_are_unique(output: Output) -> None:
    keys = [column.key for column in columns.columns_for(output)]
    assert len(set(keys)) == len(keys)
