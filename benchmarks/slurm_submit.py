"""Submit, list and collect many jobs on a real Slurm cluster over SSH: all at once, and one command per job.

    .venv/bin/python benchmarks/slurm_submit.py --jobs 300          needs root, slurmd, sshd

Starts a cluster without accounting on the loopback interface (tests/support/slurm). Both ways are measured in turn in
each round, with different jobs, over open connections; `sbatch` alone is the part that Slurm needs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.slurm.cluster import Cluster  # noqa: E402
from tests.support.slurm.jobs import shell_job  # noqa: E402
from tests.support.slurm.settings import slurm_settings  # noqa: E402
from tests.support.slurm.sshd import Sshd  # noqa: E402

from nel_action.executors.interface import ExecutorContext  # noqa: E402
from nel_action.executors.slurm.executor import SlurmExecutor  # noqa: E402
from nel_action.planning.jobs import Job  # noqa: E402

INVOCATION = "0" * 16


def seconds(call: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Measure both ways and print the results."""
    with Cluster() as cluster, Sshd(cluster.user.pw_name, slurm_conf=cluster.root / "slurm.conf") as sshd:
        settings = slurm_settings(
            sshd, output_dir=str(cluster.scratch / "runs"), max_resumes=0, sbatch_extra_flags={"hold": True}
        )
        context = ExecutorContext(home=folder, environ={"HOME": "/nonexistent"}, base_dir=folder)
        executor = SlurmExecutor(settings, context)
        executor.remote.run(["true"])

        def jobs() -> list[tuple[Job, int]]:
            return [(shell_job(folder), 1) for _ in range(options.jobs)]

        together, each = [], []
        for _ in range(options.rounds):
            batch, single = jobs(), jobs()
            before = executor.remote.round_trips
            together.append(seconds(lambda batch=batch: executor.submit_many(batch, INVOCATION)))  # type: ignore[misc]
            trips = executor.remote.round_trips - before
            each.append(seconds(lambda single=single: [executor.submit(*job, INVOCATION) for job in single]))  # type: ignore[misc]
        script = next((cluster.scratch / "runs").glob("*/sbatch_*.sh"))
        command = ("sbatch", "--parsable", f"--uid={cluster.user.pw_uid}", str(script))
        bare = seconds(lambda: [cluster.run(*command) for _ in range(30)]) / 30
        executor.close()
    first, second = statistics.median(together), statistics.median(each)
    print(f"{options.jobs} jobs at once: {first:.1f} s, {1000 * first / options.jobs:.0f} ms each, {trips} command")
    print(
        f"one command per job: {second:.1f} s, {1000 * second / options.jobs:.0f} ms each; {second / first:.1f} times"
    )
    print(f"sbatch alone: {1000 * bare:.0f} ms; load average {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), parser.parse_args())


if __name__ == "__main__":
    main()
