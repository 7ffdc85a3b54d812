from __future__ import annotations

from pathlib import Path

from tests.support import reports

from nel_action.report.write import write_reports


def test_write_reports_replaces_existing_files(tmp_path: Path) -> None:
    for _ in range(2):
        paths = write_reports(reports.failed(), tmp_path / "run")
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(paths)
        assert all(path.read_bytes() for path in paths.values())
