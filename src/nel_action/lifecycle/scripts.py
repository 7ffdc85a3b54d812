"""The scripts that a person can run by hand, written beside what they did."""

from __future__ import annotations

from nel_action.files import write_atomically
from nel_action.lifecycle.session import Session

__all__ = ["write_scripts"]

EXECUTABLE = 0o755


def write_scripts(session: Session) -> None:
    """Write each job's scripts into its directory, and the invocation's into the run directory."""
    invocation = session.invocation
    for job in invocation.plan.jobs:
        for name, text in session.executor.scripts(job, 1).items():
            write_atomically(invocation.job_dir(job) / name, text.encode(), mode=EXECUTABLE)
    for name, text in session.executor.plan_scripts(invocation.plan).items():
        write_atomically(invocation.run_dir / name, text.encode(), mode=EXECUTABLE)
