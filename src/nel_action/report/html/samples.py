"""The samples: what flipped, and all items to filter and search, question and answers side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import ResultsError
from nel_action.model.results import Results, read_results
from nel_action.report.html.element import Safe, el, join
from nel_action.report.html.pairs import Packed, pack
from nel_action.report.model import Report
from nel_action.report.rows import Row
from nel_action.report.samples import samples_path

__all__ = ["MOST", "samples_section"]

MOST: Final = 100_000
"""Samples on a page, over all tasks."""


def samples_section(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render the explorer; None where no task kept samples."""
    kept = [row for row in rows if row.result and row.result.samples and report.metadata.run_dir]
    if not kept:
        return None
    packed, notes = _packed(report, kept)
    parts = [el("p", note, class_="note") for note in notes]
    return el(
        "section", el("h2", "Samples"), *parts, *([_explorer(packed), *_data(packed)] if packed else []), id="samples"
    )


def _packed(report: Report, rows: Sequence[Row]) -> tuple[list[tuple[Row, Packed]], list[str]]:
    packed, notes = [], []
    before, problem = _baseline(report)
    if problem:
        notes.append(problem)
    for row in rows:
        try:
            one = _pack(report, row, before, MOST // len(rows))
        except ResultsError as error:
            notes.append(f"{row.task}: {error}")
            continue
        packed.append((row, one))
        if one.left_out:
            notes.append(f"{row.task}: {one.left_out:,} more samples are in the run directory; all changes come first")
    return packed, notes


def _pack(report: Report, row: Row, before: Results | None, budget: int) -> Packed:
    assert report.metadata.run_dir is not None  # noqa: S101 - the caller chose rows by it
    assert row.result is not None  # noqa: S101
    score = row.result.score(row.metric) if row.metric else None
    higher = row.judged.higher_is_better if row.judged else score.higher_is_better if score else None
    ours = samples_path(report.metadata.run_dir, row.result)
    assert ours is not None  # noqa: S101
    theirs = _theirs(report, row, before)
    return pack(ours, theirs, metric=row.metric, higher_is_better=higher, budget=budget)


def _baseline(report: Report) -> tuple[Results | None, str | None]:
    """Read the baseline's results, or say why its samples are not shown."""
    folder = report.metadata.baseline_dir
    if folder is None or not folder.is_dir():
        return None, None
    try:
        return read_results(folder / "results.json"), None
    except ResultsError as error:
        return None, f"the baseline's samples are not shown: {error}"


def _theirs(report: Report, row: Row, before: Results | None) -> Path | None:
    """Find the task's samples in the baseline: the same model's, or those of the only model it has."""
    if before is None or report.metadata.baseline_dir is None:
        return None
    found = [task for task in before.tasks if task.task == row.task]
    same = [task for task in found if task.model == row.model] or (found if len(found) == 1 else [])
    path = samples_path(report.metadata.baseline_dir, same[0]) if same else None
    return path if path and path.is_file() else None


def _explorer(packed: Sequence[tuple[Row, Packed]]) -> Safe:
    """Make the empty explorer; the script fills it, always with text and never with markup."""
    options = [
        el(
            "option",
            f"{row.task} · {row.model} ({one.count:,})",
            value=number,
            data_task=row.task,
            data_model=row.model,
        )
        for number, (row, one) in enumerate(packed)
    ]
    kinds = [
        ("worse", "got worse"),
        ("better", "got better"),
        ("all", "all"),
        ("same", "unchanged"),
        ("wrong", "wrong now"),
        ("single", "on one side only"),
    ]
    controls = el(
        "form",
        _labelled("task", el("select", *options, id="task")),
        _labelled("show", el("select", *(el("option", text, value=kind) for kind, text in kinds), id="kind")),
        _labelled("search", el("input", id="query", type="search", autocomplete="off", spellcheck="false")),
        class_="controls",
        role="search",
        aria_label="Samples",
    )
    rows = el("div", el("div", id="spacer"), id="list", role="listbox", tabindex="0", aria_label="Samples")
    detail = el("article", id="detail", tabindex="-1", aria_label="Sample", aria_live="off")
    return join(
        el("noscript", el("p", "Samples are shown by a script in this page, and scripts are switched off.")),
        controls,
        el("p", id="status", role="status", class_="quiet"),
        el("div", rows, detail, class_="explorer", id="explorer"),
    )


def _labelled(text: str, control: Safe) -> Safe:
    return el("label", el("span", text), control)


def _data(packed: Sequence[tuple[Row, Packed]]) -> Iterator[Safe]:
    # NOTE: base64 has no character that could end the element.
    for number, (_, one) in enumerate(packed):
        yield el("script", Safe(one.index), type="application/gzip", id=f"index-{number}")
        for place, chunk in enumerate(one.chunks):
            yield el("script", Safe(chunk), type="application/gzip", id=f"texts-{number}-{place}")
