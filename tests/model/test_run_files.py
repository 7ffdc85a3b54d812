from __future__ import annotations

from pathlib import Path

from nel_action.model.run_files import RunFiles


def test_run_files_names_are_part_of_the_interface() -> None:
    files = RunFiles(Path("run"))
    paths = [
        files.spec,
        files.plan,
        files.invocation,
        files.results,
        files.gate,
        files.report_markdown,
        files.report_html,
        files.junit,
        files.samples,
        files.job("t").artifacts,
        files.job("t").logs,
        files.job("t").collected,
    ]
    assert [path.as_posix() for path in paths] == [
        "run/spec.yaml",
        "run/plan.json",
        "run/invocation.json",
        "run/results.json",
        "run/gate.json",
        "run/report.md",
        "run/report.html",
        "run/junit.xml",
        "run/samples",
        "run/t/artifacts",
        "run/t/logs",
        "run/t/collected.json",
    ]
