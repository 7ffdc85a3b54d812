"""The samples explorer: all items with filters and search, question and both answers side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import ResultsError
from nel_action.formatting import count
from nel_action.model.results import Results, read_results
from nel_action.model.run_files import RunFiles
from nel_action.report.anchors import SAMPLE_FILTERS
from nel_action.report.html.element import Safe, el, join
from nel_action.report.html.packed_samples import PackedSamples, pack_samples
from nel_action.report.model import Report
from nel_action.report.rows import Row
from nel_action.report.store import samples_path

__all__ = ["MAX_SAMPLES", "samples_section"]

MAX_SAMPLES: Final = 100_000
"""Samples on a page, all tasks together."""


def samples_section(report: Report, rows: Sequence[Row]) -> Safe | None:
    """Render the explorer; None if no task has samples."""
    with_samples = [row for row in rows if row.result and row.result.samples and report.metadata.run_dir]
    if not with_samples:
        return None
    packed, notes = _pack_all(report, with_samples)
    explorer = [_explorer(packed), *_data(packed)] if packed else []
    return el(
        "section", el("h2", "Samples"), *(el("p", note, class_="note") for note in notes), *explorer, id="samples"
    )


def _pack_all(report: Report, rows: Sequence[Row]) -> tuple[list[tuple[Row, PackedSamples]], list[str]]:
    """Pack the samples of each row; the notes report the rows and samples that are not shown."""
    packed, notes = [], []
    baseline, problem = _read_baseline(report)
    if problem:
        notes.append(problem)
    for row in rows:
        try:
            samples = _pack(report, row, baseline, MAX_SAMPLES // len(rows))
        except ResultsError as error:
            notes.append(f"{row.task}: {error}")
            continue
        packed.append((row, samples))
        if samples.left_out:
            more = count(samples.left_out)
            notes.append(f"{row.task}: {more} more samples are in the run directory; all changed ones are shown first")
    return packed, notes


def _pack(report: Report, row: Row, baseline: Results | None, limit: int) -> PackedSamples:
    assert report.metadata.run_dir is not None  # noqa: S101 - checked by samples_section
    assert row.result is not None  # noqa: S101
    score = row.result.score(row.metric) if row.metric else None
    verdict = row.task_verdict
    higher_is_better = verdict.higher_is_better if verdict else score.higher_is_better if score else None
    candidate = samples_path(report.metadata.run_dir, row.result)
    assert candidate is not None  # noqa: S101
    return pack_samples(
        candidate,
        _baseline_samples(report, row, baseline),
        metric=row.metric,
        higher_is_better=higher_is_better,
        limit=limit,
    )


def _read_baseline(report: Report) -> tuple[Results | None, str | None]:
    """Read the baseline's results; return the reason if its samples cannot be shown."""
    folder = report.metadata.baseline_dir
    if folder is None or not folder.is_dir():
        return None, None
    try:
        return read_results(RunFiles(folder).results), None
    except ResultsError as error:
        return None, f"the baseline's samples are not shown: {error}"


def _baseline_samples(report: Report, row: Row, baseline: Results | None) -> Path | None:
    """Return the baseline's samples file for a row: of the same model, or of the only model that has the task."""
    if baseline is None or report.metadata.baseline_dir is None:
        return None
    results = [task for task in baseline.tasks if task.task == row.task]
    matches = [task for task in results if task.model == row.model] or (results if len(results) == 1 else [])
    path = samples_path(report.metadata.baseline_dir, matches[0]) if matches else None
    return path if path and path.is_file() else None


def _explorer(packed: Sequence[tuple[Row, PackedSamples]]) -> Safe:
    """Render the empty explorer; the script fills it with text, never with markup."""
    tasks = [
        el(
            "option",
            f"{row.task} · {row.model} ({count(samples.count)})",
            value=number,
            data_task=row.task,
            data_model=row.model,
        )
        for number, (row, samples) in enumerate(packed)
    ]
    filters = [el("option", label, value=name) for name, label in SAMPLE_FILTERS.items()]
    controls = el(
        "form",
        _labelled("task", el("select", *tasks, id="task")),
        _labelled("show", el("select", *filters, id="kind")),
        _labelled("search", el("input", id="query", type="search", autocomplete="off", spellcheck="false")),
        class_="controls",
        role="search",
        aria_label="Samples",
    )
    rows = el("div", el("div", id="spacer"), id="list", role="listbox", tabindex="0", aria_label="Samples")
    detail = el("article", id="detail", tabindex="-1", aria_label="Sample", aria_live="off")
    return join(
        el("noscript", el("p", "Enable JavaScript to see the samples.")),
        controls,
        el("p", id="status", role="status", class_="quiet"),
        el("div", rows, detail, class_="explorer", id="explorer"),
    )


def _labelled(text: str, control: Safe) -> Safe:
    return el("label", el("span", text), control)


def _data(packed: Sequence[tuple[Row, PackedSamples]]) -> Iterator[Safe]:
    # NOTE: base64 contains no character that could close the element.
    for number, (_, samples) in enumerate(packed):
        yield el("script", Safe(samples.index), type="application/gzip", id=f"index-{number}")
        for part, chunk in enumerate(samples.chunks):
            yield el("script", Safe(chunk), type="application/gzip", id=f"texts-{number}-{part}")
