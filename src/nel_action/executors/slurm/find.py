"""What a cluster has under the keys of jobs: from its queue, and from what every submitter writes down there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from nel_action.executors.slurm.layout import split_name
from nel_action.executors.slurm.outage import answered
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.status.queue import parse_squeue, squeue
from nel_action.executors.slurm.submit import SBATCH_SECONDS
from nel_action.model.job import Attempt, Key

__all__ = ["find", "sweep"]

PAUSE: Final = 0.5


def sweep(remote: Remote, output_dir: str, keys: Sequence[Key], keep_days: int | None) -> list[str]:
    """Take away secrets that no job will read, and attempts that ended more than `keep_days` ago; return their names.

    Nothing is taken away while the controller does not answer, nor what is in the queue or has one of these keys.
    """
    (done,) = remote.run(["sh", "-c", _part("sweep.sh"), "sweep.sh", output_dir, str(keep_days or 0), *keys])
    return [line.removeprefix("removed ") for line in done.text.splitlines()]


def find(remote: Remote, output_dir: str, keys: Sequence[Key]) -> list[Attempt]:
    """Return all attempts that are there under these keys, once none of them is being submitted at this moment.

    Raises:
        EngineError: the controller does not answer.
        UnreachableError: the cluster does not answer.
    """
    wanted = set(keys)
    deadline = time.monotonic() + SBATCH_SECONDS + 5
    while True:
        found, under_way = _look(remote, output_dir, wanted)
        if not under_way or time.monotonic() > deadline:
            return list(found.values())
        time.sleep(PAUSE)


def _look(remote: Remote, output_dir: str, wanted: set[Key]) -> tuple[dict[str, Attempt], bool]:
    written, queue = remote.run(["sh", "-c", _part("find.sh"), "find.sh", output_dir], squeue())
    text = answered(remote, queue, "nothing was submitted; try again when it does")
    found: dict[str, Attempt] = {}
    intents: dict[str, int] = {}
    *lines, now = written.text.splitlines() or ["0"]
    for line in lines:
        name, what, value, *_ = line.split()
        key_number = split_name(name)
        if key_number is None or key_number[0] not in wanted:
            continue
        if what == "intent":
            intents[name] = int(value)
        else:
            key, number = key_number
            found.setdefault(name, Attempt(key=key, number=number, backend_id=value))
    for row in sorted(parse_squeue(text), key=lambda row: row.job):
        key_number = split_name(row.name)
        if key_number is not None and key_number[0] in wanted:
            key, number = key_number
            known = found.get(row.name)
            if known is None or known.submitted is None:
                job = known.backend_id if known else str(row.job)
                found[row.name] = Attempt(key=key, number=number, backend_id=job, submitted=row.submitted)
    under_way = any(name not in found and int(now) - when <= SBATCH_SECONDS + 2 for name, when in intents.items())
    return found, under_way


@cache
def _part(name: str) -> str:
    return files("nel_action.executors.slurm").joinpath("templates", name).read_text("utf-8")
