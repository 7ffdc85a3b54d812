"""Run directories for tests of exports and reports."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import reports

from nel_action.model.results import write_results
from nel_action.report.model import Report
from nel_action.report.store import save_report

__all__ = ["make_run"]


def make_run(root: Path, report: Report | None = None, *, judged: bool = True) -> Path:
    """Write a run directory like that of an invocation, with artifacts and logs for each job.

    Args:
        root: folder of the run directory.
        report: content; `reports.failed()` by default.
        judged: write the verdict too.
    """
    report = report or reports.failed()
    invocation = report.results.invocation
    run = root / f"2026-11-22-10-30-45-{invocation}"
    jobs = []
    for index, task in enumerate(report.results.tasks):
        folder = run / task.task
        (folder / "artifacts" / "cache").mkdir(parents=True)
        (folder / "logs").mkdir()
        (folder / "artifacts" / "results.yml").write_text(f"task: {task.task}\n")
        (folder / "artifacts" / "cache" / "big.bin").write_bytes(b"\0" * 100)
        (folder / "artifacts" / "secret").symlink_to("/etc/hostname")
        (folder / "logs" / "client.log").write_text("done\n")
        jobs.append({"index": index, "name": task.task})
    (run / "plan.json").write_text(json.dumps({"jobs": jobs}))
    (run / "invocation.json").write_text(json.dumps({"invocation": invocation}))
    tasks = [
        task.model_copy(update={"job_id": f"{invocation}.{number}", "key": f"nel-{number:016x}"})
        for number, task in enumerate(report.results.tasks)
    ]
    write_results(report.results.model_copy(update={"tasks": tuple(tasks)}), run / "results.json")
    if judged:
        save_report(report, run)
    return run
