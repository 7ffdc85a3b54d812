"""The `#SBATCH` lines: what is asked of the cluster, from the spec."""

from __future__ import annotations

import shlex

from nel_action.executors.slurm.layout import JobDir
from nel_action.spec.slurm import SlurmExecution, walltime_seconds

__all__ = ["LEAD", "header", "lead"]

LEAD = 60
"""Seconds before the time limit at which a job is told, so that it stops in order."""

SHORTEST = 240
"""Seconds of a time limit below which nobody is told: Slurm may send the signal up to a minute early."""


def lead(settings: SlurmExecution) -> int:
    """Return how many seconds before its time limit a job is told; 0 where it is not."""
    return LEAD if settings.max_resumes and walltime_seconds(settings.walltime) >= SHORTEST else 0


def header(settings: SlurmExecution, job_dir: JobDir, comment: str, *, nodes: int) -> str:
    """Return the `#SBATCH` lines of a job that takes so many nodes."""
    options: dict[str, str | int | bool | float | None] = {
        "job-name": job_dir.name,
        "chdir": str(job_dir.path),
        "output": f"{job_dir.logs}/slurm-%j.log",
        "open-mode": "append",
        "no-requeue": True,
        "signal": f"B:USR1@{lead(settings)}" if lead(settings) else None,
        "time": settings.walltime,
        "account": settings.account,
        "partition": settings.partition,
        "qos": settings.qos,
        "nodes": nodes,
        "ntasks-per-node": settings.ntasks_per_node,
        "gpus-per-node": settings.gpus_per_node,
        "gres": settings.gres,
        "comment": settings.sbatch_comment or comment,
    }
    options |= settings.sbatch_extra_flags
    return "".join(_line(name, value) for name, value in options.items() if value is not None and value is not False)


def _line(name: str, value: str | float | bool) -> str:  # noqa: FBT001 true is a flag's own value
    return f"#SBATCH --{name}\n" if value is True else f"#SBATCH --{name}={shlex.quote(str(value))}\n"
