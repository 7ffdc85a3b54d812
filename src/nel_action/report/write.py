"""The report's files in a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nel_action.files import write_atomically
from nel_action.report.html import render_html
from nel_action.report.junit import render_junit
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Report
from nel_action.report.store import save_report

__all__ = ["placed", "write_reports"]


def write_reports(report: Report, run_dir: Path) -> Mapping[str, Path]:
    """Write `report.json`, `report.md`, `report.html` and `junit.xml`, each whole or not at all; return paths by name.

    The verdict goes first, so that it is on disk whatever becomes of the renderings.

    Raises:
        OSError: the directory cannot be written.
    """
    verdict = save_report(report, run_dir)
    rendered = {
        "report.md": render_markdown(report).encode(),
        "report.html": render_html(placed(report, run_dir)),
        "junit.xml": render_junit(report),
    }
    for name, data in rendered.items():
        write_atomically(run_dir / name, data)
    return {verdict.name: verdict} | {name: run_dir / name for name in rendered}


def placed(report: Report, run_dir: Path) -> Report:
    """Say that samples lie in `run_dir`, where the facts name no folder or one that is not on this machine."""
    known = report.metadata.run_dir
    return report if known and known.is_dir() else replace(report, metadata=replace(report.metadata, run_dir=run_dir))
