"""The report as plain text, for terminals and logs; names come from outside and are made harmless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict

__all__ = ["render_text"]

_SHOWN: Final = 5
"""Flipped items that are named; the JSON and the HTML report have them all."""


def render_text(report: GateReport) -> str:
    """Write a table of tasks, the reasons, the items that flipped, and the verdict with its exit code."""
    shown = [task.comparison.interval for task in report.tasks if task.comparison]
    level = next((interval.level for interval in shown if interval), None)
    head = ["task", "metric", "score", "baseline", f"difference ({level:.0%})" if level else "difference", "verdict"]
    rows = [head, *(_row(task) for task in report.tasks)]
    lines = _aligned(rows) if report.tasks else []
    lines += ["", *_more(report)]
    against = f" against {_plain(report.baseline)}" if report.baseline else ""
    lines += ["", f"{report.verdict.value} (exit {report.exit_code}){against}"]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _plain(text: str | None) -> str:
    """Replace what could steer a terminal or break a line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text or "")


def _row(task: TaskVerdict) -> list[str]:
    name = f"{task.task} ({task.model})" if task.model else task.task
    verdict = task.verdict.value if task.tier.value != "advisory" else f"{task.verdict.value} (advisory)"
    compared = task.comparison
    return [
        _plain(name),
        _plain(task.metric),
        _score(task.score, task.stderr),
        _score(compared.baseline if compared else None, None),
        _difference(task),
        f"{verdict}: {_plain(task.reasons[0])}" if task.reasons and task.verdict is not Verdict.PASS else verdict,
    ]


def _score(value: float | None, stderr: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" + (f" ± {stderr:.2g}" if stderr is not None else "")


def _difference(task: TaskVerdict) -> str:
    compared = task.comparison
    if compared is None:
        return ""
    share = task.score is not None and 0 <= task.score <= 1 and 0 <= compared.baseline <= 1
    scale, unit = (100, " pp") if share else (1, "")
    said = f"{compared.difference * scale:+.3g}{unit}"
    if compared.interval is None:
        return said
    return f"{said} [{compared.interval.low * scale:+.3g}, {compared.interval.high * scale:+.3g}]"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    used = [column for column, width in enumerate(widths) if any(row[column] for row in rows[1:])]
    return ["  ".join(row[column].ljust(widths[column]) for column in used).rstrip() for row in rows]


def _more(report: GateReport) -> list[str]:
    """Name what the table has no room for: further reasons, notes, items that flipped."""
    lines = []
    for task in report.tasks:
        rest = task.reasons if task.verdict is Verdict.PASS else task.reasons[1:]
        lines += [f"{_plain(task.task)}: {_plain(reason)}" for reason in rest]
        if task.comparison and task.verdict is not Verdict.PASS and task.comparison.n_paired:
            lines.append(f"{_plain(task.task)}: {_flips(task)}")
    return [*lines, *(f"note: {_plain(note)}" for note in report.notes)]


def _flips(task: TaskVerdict) -> str:
    compared = task.comparison
    assert compared is not None  # noqa: S101 - the caller's question
    said = f"{compared.n_worse:,} items got worse, {compared.n_better:,} better"
    shown = ", ".join(_plain(flip.id) for flip in compared.worse[:_SHOWN])
    return f"{said}; worse: {shown}{', …' if compared.n_worse > _SHOWN else ''}" if shown else said
