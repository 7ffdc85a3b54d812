"""Kill command lines at random moments while they submit, wait and collect on a real Slurm cluster.

    scripts/chaos slurm [--kills 100] [--seed 20261122]                  needs root, slurmd, sshd

Each round submits the tasks of a new project, kills `run` several times with the same and with an empty home directory,
kills `wait` several times, and lets a last process finish. Then every task must have run exactly once, under one Slurm
job, with its result in the verdict.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.project import kill
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.project import ClusterProject
from tests.support.slurm.sshd import Sshd

__all__ = ["Outcome", "run_rounds"]

TASKS = ("alpha", "beta", "gamma")

WAIT_SHARE = 0.4
"""Share of the kills that hit `wait`; the others hit `run`."""


@dataclass
class Outcome:
    """The result of all rounds."""

    kills: int = 0
    """Processes that were killed before they had finished."""
    rounds: int = 0
    errors: list[str] = field(default_factory=list)
    """Tasks that were lost, repeated or reported wrongly."""


def run_rounds(cluster: Cluster, sshd: Sshd, folder: Path, *, kills: int, seed: int, per_round: int = 10) -> Outcome:
    """Kill as often as requested.

    Args:
        cluster: the cluster.
        sshd: its login node.
        folder: receives the projects.
        kills: number of kills.
        seed: seed of their moments.
        per_round: kills of one project.
    """
    generator, outcome = random.Random(seed), Outcome()  # noqa: S311 reproducible moments
    while outcome.kills < kills:
        project = ClusterProject(
            folder / f"round-{outcome.rounds}",
            tasks=TASKS,
            seconds=1,
            cluster=cluster,
            sshd=sshd,
            more={"max_resumes": 0},
        )
        before = outcome.kills
        outcome.rounds += 1
        _kill_round(project, generator, min(per_round, kills - before), outcome)
        outcome.errors += [f"round {outcome.rounds}: {error}" for error in _verify(project, cluster)]
    return outcome


def _kill_round(project: ClusterProject, generator: random.Random, kills: int, outcome: Outcome) -> None:
    """Kill processes of one project, and finish with a process that is not killed."""
    goal, longest = outcome.kills + kills, 2.5
    waits = round(kills * WAIT_SHARE)
    while outcome.kills < goal - waits:
        if generator.random() < 0.5:
            project.home = project.folder.parent / f"{project.folder.name}-home-{outcome.kills}"
        delay = generator.uniform(0.2, longest)
        if _killed(project, delay, "run", "spec.yaml", "--skip-endpoint-check"):
            outcome.kills += 1
        else:
            longest = max(0.5, longest * 0.8)
    finished = project.run()
    if finished.returncode != 5:
        outcome.errors.append(f"run: exit status {finished.returncode}: {finished.stderr}")
        return
    invocation = project.runs[-1].name.rsplit("-", 1)[1]
    longest = 2.5
    for _ in range(3 * waits):
        if outcome.kills >= goal:
            break
        outcome.kills += _killed(project, generator.uniform(0.2, longest), "wait", invocation)
    waited = project.nel("wait", invocation)
    if waited.returncode or waited.stdout.count("75.0") < len(TASKS):
        outcome.errors.append(f"wait: exit status {waited.returncode}: {waited.stdout}{waited.stderr}")


def _killed(project: ClusterProject, delay: float, *arguments: str) -> bool:
    """Start a command and kill it after some seconds; return whether it was killed before it had finished."""
    process = project.start(*arguments)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        kill(process, signal.SIGKILL)
        return True
    process.communicate()
    return False


def _verify(project: ClusterProject, cluster: Cluster) -> list[str]:
    """Return the tasks that did not run exactly once."""
    runs = Counter(project.ran)
    errors = [f"{task} ran {runs[task]} times" for task in TASKS if runs[task] != 1]
    rows = cluster.run("squeue", "-h", "-t", "all", "-o", "%j %Z").splitlines()
    jobs = Counter(row.split()[0] for row in rows if row.split()[-1].startswith(f"{project.output}/"))
    return errors + [f"{name}: {count} Slurm jobs" for name, count in jobs.items() if count != 1]


def main() -> None:
    """Start a cluster, kill as often as requested, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=20_261_122)
    options = parser.parse_args()
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="nel-chaos-") as folder,
        Cluster() as cluster,
        Sshd(cluster.user.pw_name, slurm_conf=cluster.root / "slurm.conf") as sshd,
    ):
        outcome = run_rounds(cluster, sshd, Path(folder), kills=options.kills, seed=options.seed)
    seconds = time.monotonic() - start
    result = "every task ran exactly once" if not outcome.errors else "\n".join(outcome.errors)
    sys.stdout.write(
        f"{outcome.kills} kills in {outcome.rounds} rounds, {seconds:.0f} s, seed {options.seed}: {result}\n"
    )
    sys.exit(bool(outcome.errors))


if __name__ == "__main__":
    main()
