"""Write all report files of a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nel_action.files import write_atomically
from nel_action.model.run_files import RunFiles
from nel_action.report.html import render_html
from nel_action.report.junit import render_junit
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Report
from nel_action.report.store import save_report

__all__ = ["with_run_dir", "write_reports"]


def write_reports(report: Report, run_dir: Path) -> Mapping[str, Path]:
    """Write `report.json`, `report.md`, `report.html` and `junit.xml`, each one atomically.

    `report.json` is written first, so that the verdict is on disk even if a rendering fails.

    Args:
        report: the report.
        run_dir: directory of the files.

    Returns:
        The paths by file name.

    Raises:
        OSError: the directory is not writable.
    """
    saved = save_report(report, run_dir)
    rendered = {
        RunFiles.REPORT_MARKDOWN: render_markdown(report).encode(),
        RunFiles.REPORT_HTML: render_html(with_run_dir(report, run_dir)),
        RunFiles.JUNIT: render_junit(report),
    }
    for name, data in rendered.items():
        write_atomically(run_dir / name, data)
    return {saved.name: saved} | {name: run_dir / name for name in rendered}


def with_run_dir(report: Report, run_dir: Path) -> Report:
    """Return the report with `run_dir` as its run directory, unless it names one that exists on this machine."""
    known = report.metadata.run_dir
    return report if known and known.is_dir() else replace(report, metadata=replace(report.metadata, run_dir=run_dir))
