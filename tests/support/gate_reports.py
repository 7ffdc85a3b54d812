"""Small, complete results with their verdicts, for tests that publish or download them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import JobOutcome, Results, Score, TaskResult, write_results
from nel_action.report.model import Report
from nel_action.report.store import save_report

__all__ = ["archive_of", "make_report", "make_results"]


def make_results(
    value: float = 0.8, *, commit: str | None = "a" * 40, tasks: tuple[str, ...] = ("gsm8k",), created: str = ""
) -> Results:
    """Return results with one score for each task."""

    def make_task(name: str, number: int) -> TaskResult:
        score = Score(metric="exact_match", value=value, stderr=0.02, n=400, higher_is_better=True)
        return TaskResult(
            task=name,
            model="acme-7b",
            job_id=f"4f1c9a204f1c9a20.{number}",
            key=f"nel-{number:016x}",
            outcome=JobOutcome.SUCCEEDED,
            primary_metric="exact_match",
            scores=(score,),
            n_items=400,
            n_expected=400,
        )

    return Results(
        invocation="4f1c9a204f1c9a20",
        created=created or "2026-11-22T10:30:45Z",
        tool_version="0.1.0",
        commit=commit,
        tasks=tuple(make_task(name, number) for number, name in enumerate(tasks)),
    )


def make_report(verdict: Verdict = Verdict.PASS, results: Results | None = None) -> Report:
    """Return a report in which every task has the same verdict."""
    results = results or make_results()
    codes = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 4, Verdict.UNMEASURABLE: 3}
    tasks = tuple(
        TaskVerdict(
            task=result.task,
            model=result.model,
            metric=result.primary_metric,
            verdict=verdict,
            score=result.scores[0].value,
            reasons=(f"{result.task} is {verdict}",),
        )
        for result in results.tasks
    )
    gate = GateReport(verdict=verdict, exit_code=codes[verdict], tasks=tasks, reasons=(f"it is {verdict}",))
    return Report(results=results, gate=gate)


def archive_of(report: Report, folder: Path) -> bytes:
    """Return the action's artifact of a report: a zipped run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    write_results(report.results, folder / "results.json")
    save_report(report, folder)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in folder.rglob("*.json"):
            archive.write(path, path.relative_to(folder))
    return out.getvalue()
