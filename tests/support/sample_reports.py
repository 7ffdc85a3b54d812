"""Reports with samples of candidate and baseline, regular and hostile ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.support import reports

from nel_action.gating.verdict import Verdict
from nel_action.model.results import Sample, write_results, write_samples
from nel_action.report.model import Report, TrendPoint

__all__ = ["PAYLOADS", "hostile_report", "report_with_samples"]

PAYLOADS = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1>",
    "]]><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "javascript:window.pwned=1",
    "\u202egnissalf\u2028\U0001f600 \x00 \x1b[31m {{constructor.constructor('window.pwned=1')()}}",
    "<style>*{display:none}</style><base href='https://evil.example'>",
    "<!--",
    '" onmouseover="window.pwned=1',
)
"""Answers of a hostile model."""

_WORDS = ("the", "of", "train", "leaves", "station", "apples", "each", "river", "seven", "total", "cost", "solve")


def _text(random_: random.Random, words: int) -> str:
    return " ".join(random_.choice(_WORDS) for _ in range(words))


def _samples(count: int, seed: int, accuracy: float, words: int) -> Iterator[Sample]:
    questions, answers = random.Random(1), random.Random(seed)  # noqa: S311 - no secret
    for number in range(count):
        yield Sample(
            id=f"item-{number:06}",
            scores={"exact_match": float(answers.random() < accuracy), "length": float(number % 97)},
            input=f"Question {number}: {_text(questions, words)}?",
            expected=str(number % 1000),
            output=f"{_text(answers, words)}. The answer is {number % 1000}.",
        )


def report_with_samples(folder: Path, count: int, *, words: int = 60) -> Report:
    """Write a candidate and a baseline with samples of one task, and return their report.

    Args:
        folder: folder of both runs.
        count: number of samples.
        words: words per text.
    """
    candidate, baseline = folder / "candidate", folder / "baseline"
    for side, seed, accuracy in ((candidate, 2, 0.81), (baseline, 3, 0.86)):
        write_samples(_samples(count, seed, accuracy, words), side / "samples" / "gsm8k.jsonl.gz")
    report = reports.failed()
    tasks = tuple(
        task.model_copy(update={"samples": "samples/gsm8k.jsonl.gz"}) if task.task == "gsm8k" else task
        for task in report.results.tasks
    )
    return _with_runs(replace(report, results=report.results.model_copy(update={"tasks": tasks})), candidate, baseline)


def hostile_report(folder: Path) -> Report:
    """Write a candidate and a baseline with hostile samples, and return a report with hostile names."""
    candidate, baseline = folder / "candidate", folder / "baseline"
    for side, score in ((candidate, 0.0), (baseline, 1.0)):
        samples = [
            Sample(id=text, scores={"exact_match": score, text: 1.0}, input=text, expected=text, output=text)
            for text in PAYLOADS
        ]
        write_samples(samples, side / "samples" / "x.jsonl.gz")
    task = reports.result("x").model_copy(
        update={"task": PAYLOADS[0], "model": PAYLOADS[1], "samples": "samples/x.jsonl.gz", "command": PAYLOADS}
    )
    judged = reports.verdict("x", Verdict.FAIL, difference=-0.1, reason=PAYLOADS[0])
    judged = judged.model_copy(update={"task": PAYLOADS[0], "model": PAYLOADS[1]})
    report = reports.hostile()
    gate = report.gate.model_copy(update={"tasks": (judged,), "reasons": PAYLOADS, "notes": PAYLOADS})
    results = report.results.model_copy(update={"tasks": (task,)})
    return _with_runs(replace(report, results=results, gate=gate), candidate, baseline)


def _with_runs(report: Report, candidate: Path, baseline: Path) -> Report:
    for side in (candidate, baseline):
        write_results(report.results, side / "results.json")
    trend = tuple(
        TrendPoint(
            task="gsm8k",
            model="acme-7b",
            metric="exact_match",
            when=f"2026-11-{day:02}T02:00:00Z",
            value=0.86 + 0.004 * (day % 3),
            stderr=0.018,
            commit=f"{day:07x}",
            verdict=Verdict.PASS,
        )
        for day in range(8, 22)
    )
    return replace(report, metadata=replace(report.metadata, run_dir=candidate, baseline_dir=baseline, trend=trend))
