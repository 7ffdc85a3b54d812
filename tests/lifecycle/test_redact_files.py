"""Redaction of collected files."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

from tests.support.plans import make_spec

from nel_action.lifecycle.redact_files import redact_job_files
from nel_action.model.env_ref import EnvRef
from nel_action.model.run_files import JobFiles
from nel_action.planning.jobs import Context
from nel_action.planning.planner import make_plan

SECRET = "k3y-t0p-s3cret-value"


def test_collected_logs_and_artifacts_contain_no_secret_in_any_form(tmp_path: Path) -> None:
    job = make_plan(make_spec("a"), Context(), base_dir=tmp_path).jobs[0]
    job = replace(job, env={"KEY": EnvRef.host("KEY"), "METRIC_KEY": EnvRef.host("METRIC_KEY")})
    files = JobFiles(tmp_path)
    text = f"accuracy {SECRET} {base64.b64encode(SECRET.encode()).decode()}\n"
    for folder in (files.logs, files.artifacts / "sub"):
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(text)
    (files.artifacts / "model.bin").write_bytes(b"\0" + SECRET.encode())
    redact_job_files(job, files, {"KEY": SECRET, "METRIC_KEY": "accuracy"})
    assert (files.logs / "file.txt").read_text() == "*** *** ***\n"
    assert (files.artifacts / "sub/file.txt").read_text() == "accuracy *** ***\n"
    assert (files.artifacts / "model.bin").read_bytes() == b"\0" + SECRET.encode()
    assert not list(tmp_path.rglob("*.redacted"))
