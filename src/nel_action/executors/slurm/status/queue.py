"""What Slurm says of jobs: `squeue` and `sacct`, asked in text with explicit fields, and their answers.

NOTE: not in JSON: `squeue --json` ignores which jobs were asked for, and its shape differs between versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

__all__ = ["ACTIVE", "Row", "moment", "parse_sacct", "parse_squeue", "sacct", "squeue"]

ACTIVE: Final = frozenset(
    {
        "PENDING",
        "RUNNING",
        "CONFIGURING",
        "COMPLETING",
        "SUSPENDED",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "STOPPED",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
    }
)
"""States that a job can leave."""

WAITING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
"""States of a job that does not run yet."""

CHUNK: Final = 2000
"""Names in one word of a command line, which holds 128 KiB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One Slurm job, as one of the two sees it."""

    job: int
    name: str
    state: str
    """Slurm's own word, without what follows it."""
    who: str | None = None
    """The user id that cancelled it, where that is told."""
    reason: str = ""
    """Why it waits, or why it ended."""
    exit_code: tuple[int, int] | None = None
    """Exit status and signal; None from `squeue`, which does not tell."""
    submitted: str | None = None
    """RFC 3339, UTC."""
    started: str | None = None
    ended: str | None = None
    """For a job that runs, `squeue` tells its time limit here; see `active`."""
    directory: str = ""
    """Where it runs."""

    @property
    def active(self) -> bool:
        """Whether its state can still change."""
        return self.state in ACTIVE

    @property
    def waiting(self) -> bool:
        """Whether it does not run yet."""
        return self.state in WAITING

    @property
    def settled(self) -> bool:
        """Whether this is how it ended: `sacct` says PENDING of jobs that have ended, until it has all of them."""
        return not self.active and self.ended is not None and self.name != "allocation"


def squeue() -> list[str]:
    """Ask for all of the user's jobs that the controller still knows."""
    return ["squeue", "-h", "--me", "-t", "all", "-o", "%i|%j|%T|%r|%V|%S|%e|%Z"]


def sacct(names: Sequence[str], *, days: int) -> list[list[str]]:
    """Ask for jobs by name, as far back as that."""
    fields = "JobIDRaw,JobName,State,ExitCode,Reason,Submit,Start,End,WorkDir"
    plain = ["sacct", "-X", "-n", "-P", f"--starttime=now-{days}days", f"--format={fields}"]
    return [[*plain, f"--name={','.join(chunk)}"] for chunk in _batched(names)]


def _batched(names: Sequence[str]) -> Iterable[Sequence[str]]:
    return [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]


def moment(text: str) -> str | None:
    """Turn Slurm's time (in UTC, as it was asked for) into RFC 3339; None for `Unknown`, `N/A` and the like."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    except ValueError:
        return None


def parse_squeue(text: str) -> list[Row]:
    """Read the answer to `squeue`, leaving out jobs that cannot be ours."""
    rows = []
    for line in text.splitlines():
        fields = line.split("|", 7)
        if len(fields) == 8 and fields[0].isdigit() and fields[1].startswith("nel-"):  # noqa: PLR2004 the fields asked for
            job, name, state, reason, submitted, started, ended, directory = fields
            rows.append(
                Row(
                    job=int(job),
                    name=name,
                    state=state,
                    reason="" if reason == "None" else reason,
                    submitted=moment(submitted),
                    started=moment(started),
                    ended=moment(ended),
                    directory=directory,
                )
            )
    return rows


def parse_sacct(text: str) -> list[Row]:
    """Read the answer to `sacct`."""
    rows = []
    for line in text.splitlines():
        fields = line.split("|", 8)
        if len(fields) == 9 and fields[0].isdigit():  # noqa: PLR2004 the fields asked for
            job, name, state, code, reason, submitted, started, ended, directory = fields
            word, _, rest = state.partition(" ")
            rows.append(
                Row(
                    job=int(job),
                    name=name,
                    state=word,
                    who=rest.removeprefix("by ") or None,
                    reason="" if reason == "None" else reason,
                    exit_code=_exit_code(code),
                    submitted=moment(submitted),
                    started=moment(started),
                    ended=moment(ended),
                    directory=directory,
                )
            )
    return rows


def _exit_code(text: str) -> tuple[int, int] | None:
    status, _, signal = text.partition(":")
    return (int(status), int(signal)) if status.isdigit() and signal.isdigit() else None
