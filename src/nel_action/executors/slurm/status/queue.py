"""Commands for `squeue` and `sacct`, and parsers of their output.

NOTE: the text format with explicit fields, not JSON: `squeue --json` ignores the job filter, and its schema differs
between versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from nel_action.errors import EngineError
from nel_action.executors.slurm.transport import CommandResult, ControllerDownError

__all__ = [
    "COMMAND_NOT_FOUND",
    "JobRow",
    "parse_sacct",
    "parse_squeue",
    "require_answer",
    "sacct_commands",
    "squeue_command",
]

FINAL: Final = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
        *("REVOKED", "TIMEOUT"),
    }
)
"""States that never change; any other one in the queue, also one of a later version of Slurm, may still change."""

RUNNING: Final = frozenset(
    {
        *("RUNNING", "COMPLETING", "LAUNCH_FAILED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
        "UPDATE_DB",
    }
)
"""States of jobs that have started and have not finished."""

WAITING: Final = frozenset(
    {
        *("PENDING", "CONFIGURING", "EXPEDITING", "POWER_UP_NODE", "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED"),
        *("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    }
)
"""States of jobs that are not running yet."""

NAMES_PER_COMMAND: Final = 2000
"""Job names in one argument, whose length is limited to 128 KiB."""

COMMAND_NOT_FOUND: Final = 127
"""Exit status of the shell for a missing program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """One Slurm job as reported by the queue or by the accounting database."""

    job: int
    name: str
    state: str
    """Slurm's state, without the text that may follow it."""
    cancelled_by: str | None = None
    """ID of the user who cancelled the job, if reported."""
    reason: str = ""
    """Slurm's reason for the state."""
    exit_code: tuple[int, int] | None = None
    """Exit status and signal; None in rows of `squeue`, which does not report them."""
    submitted: str | None = None
    """RFC 3339, UTC."""
    started: str | None = None
    ended: str | None = None
    """For a running job, `squeue` reports its time limit here; check `active`."""
    directory: str = ""
    """Working directory."""

    @property
    def active(self) -> bool:
        """Whether the state can still change."""
        return self.state not in FINAL

    @property
    def waiting(self) -> bool:
        """Whether the job is not running yet."""
        return self.state in WAITING

    @property
    def settled(self) -> bool:
        """Whether a row of `sacct` is final and complete; until then, it may report PENDING for a finished job."""
        active = self.state in RUNNING or self.state in WAITING
        return not active and self.ended is not None and self.name != "allocation"


def squeue_command() -> list[str]:
    """Return the command that lists all of the user's jobs that the controller remembers."""
    return ["squeue", "-h", "--me", "-t", "all", "-o", "%i|%j|%T|%r|%V|%S|%e|%Z"]


def sacct_commands(names: Sequence[str], *, days: int) -> list[list[str]]:
    """Return the commands that list jobs of the last `days` days by name."""
    fields = "JobIDRaw,JobName,State,ExitCode,Reason,Submit,Start,End,WorkDir"
    command = ["sacct", "-X", "-n", "-P", f"--starttime=now-{days}days", f"--format={fields}"]
    chunks = [names[start : start + NAMES_PER_COMMAND] for start in range(0, len(names), NAMES_PER_COMMAND)]
    return [[*command, f"--name={','.join(chunk)}"] for chunk in chunks]


def require_answer(host: str, result: CommandResult, hint: str) -> str:
    """Return the output of a successful `squeue`.

    Args:
        host: the login node, for messages.
        result: result of `squeue`.
        hint: what a missing answer means for the caller's operation.

    Raises:
        EngineError: there is no `squeue`.
        ControllerDownError: the controller does not answer, which does not mean that the queue is empty.
    """
    if result.code == COMMAND_NOT_FOUND:
        msg = f"squeue not found on {host}: {result.error_line}"
        raise EngineError(msg, hint="set execution.bin_dir to the directory of Slurm's programs, or use login_shell")
    if result.code:
        msg = f"the Slurm controller on {host} does not answer: {result.error_line}"
        raise ControllerDownError(msg, hint=hint)
    return result.text


def parse_squeue(text: str) -> list[JobRow]:
    """Parse the output of `squeue`; jobs with other names than an attempt's are skipped."""
    rows = []
    for line in text.splitlines():
        fields = line.split("|", 7)
        if len(fields) == 8 and fields[0].isdigit() and fields[1].startswith("nel-"):  # noqa: PLR2004 requested fields
            job, name, state, reason, submitted, started, ended, directory = fields
            rows.append(
                JobRow(
                    job=int(job),
                    name=name,
                    state=state,
                    reason="" if reason == "None" else reason,
                    submitted=_rfc3339(submitted),
                    started=_rfc3339(started),
                    ended=_rfc3339(ended),
                    directory=directory,
                )
            )
    return rows


def parse_sacct(text: str) -> list[JobRow]:
    """Parse the output of `sacct`."""
    rows = []
    for line in text.splitlines():
        fields = line.split("|", 8)
        if len(fields) == 9 and fields[0].isdigit():  # noqa: PLR2004 requested fields
            job, name, state_text, code, reason, submitted, started, ended, directory = fields
            state, _, suffix = state_text.partition(" ")
            rows.append(
                JobRow(
                    job=int(job),
                    name=name,
                    state=state,
                    cancelled_by=suffix.removeprefix("by ") or None,
                    reason="" if reason == "None" else reason,
                    exit_code=_exit_code(code),
                    submitted=_rfc3339(submitted),
                    started=_rfc3339(started),
                    ended=_rfc3339(ended),
                    directory=directory,
                )
            )
    return rows


def _rfc3339(text: str) -> str | None:
    """Convert Slurm's time, requested in UTC; None for `Unknown`, `N/A` and the like."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    except ValueError:
        return None


def _exit_code(text: str) -> tuple[int, int] | None:
    status, _, signal = text.partition(":")
    return (int(status), int(signal)) if status.isdigit() and signal.isdigit() else None
