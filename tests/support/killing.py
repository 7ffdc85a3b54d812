"""Kills processes at random points while they submit, collect or supervise jobs: DIRECTORY SEED MODE KILLS.

MODE is `submit`, `supervise` or `collect`. A separate program, because it forks. The caller checks the outcome.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.local_jobs import INVOCATION, Bench, job, supervisor_pid

from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.executors.local.executor import LocalExecutor
from nel_action.model.job import Attempt
from nel_action.planning.jobs import Job

__all__ = ["make_jobs"]


def make_jobs(root: Path, count: int, duration: float = 0.0) -> list[Job]:
    """Return jobs that each append one line to a file of their own and then run for `duration` seconds."""
    return [
        job(
            f"j{n}",
            f"import os, time\nwith open({str(root / f'ran-{n}')!r}, 'a') as f: f.write('ran\\n')\n"
            f"time.sleep({duration})\n"
            "with open(os.environ['NEL_OUTPUT_DIR'] + '/scores.json', 'w') as f: f.write('x' * 100_000)",
            index=n,
        )
        for n in range(count)
    ]


def killed_after(delay: float, action: Callable[[], object]) -> bool:
    """Run `action` in a process that is killed after `delay` seconds; return whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _submit(executor: LocalExecutor, jobs: list[Job]) -> list[Attempt]:
    return [executor.submit(item, 1, INVOCATION) for item in jobs]


def main() -> None:
    """Kill as often as requested, then let all jobs finish; print how many kills hit an unfinished process."""
    root, generator, mode, count = Path(sys.argv[1]), random.Random(sys.argv[2]), sys.argv[3], int(sys.argv[4])  # noqa: S311
    executor = Bench(root, dict(os.environ)).executor(parallelism=4)
    jobs = make_jobs(root, count, 0.0 if mode == "submit" else 0.02)
    kills = 0
    if mode == "submit":
        while kills < count:
            submitted = find_attempts(executor, [item.key for item in jobs])
            remaining = [item for item in jobs if item.key not in submitted] or jobs
            kills += killed_after(
                generator.uniform(0, 0.03),
                lambda remaining=remaining: _submit(executor, remaining),  # type: ignore[misc]
            )
    attempts = _submit(executor, jobs)
    if mode == "supervise":
        while kills < count and not all(status.state.final for status in poll_attempts(executor, attempts).values()):
            time.sleep(generator.uniform(0, 0.4))
            try:
                os.kill(supervisor_pid(root / "home", INVOCATION), signal.SIGKILL)
                kills += 1
            except (AssertionError, ProcessLookupError):
                continue
    while not all(status.state.final for status in poll_attempts(executor, attempts).values()):
        time.sleep(0.05)
    if mode == "collect":
        while kills < count:
            attempt = generator.choice(attempts)
            kills += killed_after(
                generator.uniform(0, 0.01),
                lambda attempt=attempt: executor.collect(attempt, root / attempt.key),  # type: ignore[misc]
            )
    sys.stdout.write(f"{kills}\n")


if __name__ == "__main__":
    main()
