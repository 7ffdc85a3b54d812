"""Kills itself again and again while it submits, collects or works: FOLDER SEED WHAT TIMES.

Run as a program of its own, since it forks. What must hold is for the test to say.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.local_jobs import INVOCATION, Bench, agent_pid, job

from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.executors.local.executor import LocalExecutor
from nel_action.model.job import Attempt
from nel_action.planning.jobs import Job

__all__ = ["jobs"]


def jobs(root: Path, number: int, pause: float = 0.0) -> list[Job]:
    """Return jobs that each add one line to a file of their own."""
    return [
        job(
            f"j{n}",
            f"import os, time\nwith open({str(root / f'ran-{n}')!r}, 'a') as f: f.write('ran\\n')\n"
            f"time.sleep({pause})\n"
            "with open(os.environ['NEL_OUTPUT_DIR'] + '/scores.json', 'w') as f: f.write('x' * 100_000)",
            index=n,
        )
        for n in range(number)
    ]


def killed_after(delay: float, action: Callable[[], object]) -> bool:
    """Do something in a process that is killed after a while; return whether it was killed before it had finished."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _submit(executor: LocalExecutor, wanted: list[Job]) -> list[Attempt]:
    return [executor.submit(each, 1, INVOCATION) for each in wanted]


def main() -> None:
    """Kill as often as asked, then finish what was begun; print how many kills hit."""
    root, dice, what, times = Path(sys.argv[1]), random.Random(sys.argv[2]), sys.argv[3], int(sys.argv[4])  # noqa: S311
    executor = Bench(root, dict(os.environ)).executor(parallelism=4)
    wanted = jobs(root, times, 0.0 if what == "submit" else 0.02)
    hits = 0
    if what == "submit":
        while hits < times:
            there = find_attempts(executor, [each.key for each in wanted])
            left = [each for each in wanted if each.key not in there] or wanted
            hits += killed_after(dice.uniform(0, 0.03), lambda left=left: _submit(executor, left))  # type: ignore[misc]
    attempts = _submit(executor, wanted)
    if what == "agent":
        while hits < times and not all(status.state.final for status in poll_attempts(executor, attempts).values()):
            time.sleep(dice.uniform(0, 0.4))
            try:
                os.kill(agent_pid(root / "home", INVOCATION), signal.SIGKILL)
                hits += 1
            except (AssertionError, ProcessLookupError):
                continue
    while not all(status.state.final for status in poll_attempts(executor, attempts).values()):
        time.sleep(0.05)
    if what == "collect":
        while hits < times:
            attempt = dice.choice(attempts)
            hits += killed_after(
                dice.uniform(0, 0.01),
                lambda attempt=attempt: executor.collect(attempt, root / attempt.key),  # type: ignore[misc]
            )
    sys.stdout.write(f"{hits}\n")


if __name__ == "__main__":
    main()
