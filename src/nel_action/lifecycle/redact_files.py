"""Redaction of collected logs and artifacts, whatever executor copied them: this process has the values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nel_action.model.env_ref import host_names
from nel_action.model.run_files import JobFiles
from nel_action.planning.jobs import Job
from nel_action.redaction import Redactor, secret_values
from nel_action.spec.deployment import ServedDeployment

__all__ = ["redact_job_files"]

_PROBE: Final = 8192


def redact_job_files(job: Job, files: JobFiles, environ: Mapping[str, str]) -> None:
    """Redact the values of a job's `host:` variables from its logs and artifacts on this machine.

    Binary files are left as they are. Artifacts keep plain words, which may be names of metrics.

    Args:
        job: the job.
        files: its files.
        environ: values of `host:` variables.
    """
    servers = [server for server in (job.deployment, *job.auxiliary.values()) if isinstance(server, ServedDeployment)]
    references = [
        reference for env in (job.env, *(server.env_vars for server in servers)) for reference in env.values()
    ]
    redactor = Redactor(secret_values(environ, host_names(references)).values())
    for folder, redact in ((files.logs, redactor), (files.artifacts, redactor.for_structured_files())):
        for root, _, names in os.walk(folder) if redact.forms else ():
            for name in names:
                _redact(Path(root) / name, redact)


def _redact(path: Path, redact: Redactor) -> None:
    """Redact a text file line by line; it is replaced only if it contains a secret."""
    if path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as probe:
        if b"\0" in probe.read(_PROBE):
            return
    partial = path.with_name(f".{path.name}.redacted")
    changed = False
    try:
        with (
            path.open(encoding="utf-8", errors="surrogateescape", newline="") as source,
            partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target,
        ):
            for line in source:
                redacted = redact(line)
                changed = changed or redacted != line
                target.write(redacted)
        if changed:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
