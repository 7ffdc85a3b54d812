"""Submitting exactly once, whatever is cut off in between.

The attempt's directory is the record that every machine sees: an intent before `sbatch`, its answer after it, and a
file that the first job to start makes. An answer that was not heard is looked up; only when the queue, the accounts
and the directory agree that nothing is there, and no `sbatch` can be under way, is it tried again.
"""

from __future__ import annotations

import time
from functools import cache
from importlib.resources import files
from typing import Final

from nel_action.errors import ExecutorError, UnreachableError
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.transport import Finished, LostError

__all__ = ["place"]

REFUSED, NO_DIRECTORY, NOT_FILLED, NOT_KNOWN = 65, 73, 74, 75

SBATCH_SECONDS: Final = 30
"""How long one `sbatch` may take; a controller that is down answers nothing for 9 s."""

TRIES: Final = 20
"""How often an outcome is looked up, with growing pauses, before the caller is told that it is not known."""


def place(remote: Remote, *, output_dir: str, name: str, script: str, archive: bytes) -> str:
    """Submit an attempt unless it is there; return its job id.

    Raises:
        ExecutorError: Slurm refuses it, or its directory cannot be made or filled.
        UnreachableError: it is not known whether it was submitted; calling again finds out.
    """
    words = ["sh", "-c", _script(), "submit.sh", output_dir, name, script, str(SBATCH_SECONDS)]
    pause, trouble = 0.1, "no answer"
    deadline = time.monotonic() + 4 * SBATCH_SECONDS
    for _ in range(TRIES):
        try:
            done = remote.once(words, stdin=archive, seconds=2 * SBATCH_SECONDS)
        except LostError as error:
            trouble = error.problems[0].message
        else:
            if done.code == 0:
                return done.text.split()[0]
            if done.code != NOT_KNOWN:
                raise _refusal(done, remote.place, f"{output_dir}/{name}")
            trouble = done.complaint
        # NOTE: the same words again: they look for the job first, and wait for an sbatch that is under way
        if time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
        pause = min(pause * 2, 5.0)
    msg = f"whether {name} was submitted on {remote.place} is not known: {trouble}"
    raise UnreachableError(msg, hint="run the same command again: it looks the job up before anything else")


@cache
def _script() -> str:
    return files("nel_action.executors.slurm").joinpath("templates", "submit.sh").read_text("utf-8")


def _refusal(done: Finished, where: str, directory: str) -> ExecutorError:
    if done.code == NO_DIRECTORY:
        msg = f"cannot make {directory} on {where}: {done.complaint}"
        return ExecutorError(msg, hint="check execution.output_dir and who may write there")
    if done.code == NOT_FILLED:
        msg = f"cannot write into {directory} on {where}: {done.complaint}"
        return ExecutorError(msg, hint="is the file system full, or the quota used up?")
    why = done.complaint.removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")
    return ExecutorError(f"Slurm refuses the job: {why}", hint=hint_for(why))


def hint_for(why: str) -> str | None:
    """Return what to do about a refusal of Slurm's, where that is known."""
    hints = {
        "partition": "check execution.partition; sinfo lists the partitions",
        "account": "check execution.account; sacctmgr show associations lists yours",
        "qos": "check execution.qos",
        "node configuration": "no node of the partition has that: check num_nodes, gres and sbatch_extra_flags",
        "time limit": "check execution.walltime against the partition's limit",
        "feature": "check the constraint in execution.sbatch_extra_flags",
        "submit limit": "too many jobs at once for this account; lower execution.parallelism",
        "generic resource": "check execution.gres",
        "gres": "check execution.gres",
    }
    return next((hint for word, hint in hints.items() if word in why.lower()), None)
