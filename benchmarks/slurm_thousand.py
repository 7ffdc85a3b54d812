"""Submit and poll a thousand jobs on a real Slurm cluster over SSH.

    .venv/bin/python benchmarks/slurm_thousand.py --jobs 1000          needs root, slurmd, sshd, MariaDB

Starts a cluster with accounting on the loopback interface (tests/support/slurm), submits held jobs with
`nel-action run`, and measures their status in the queue and again after they have finished and the controller has
forgotten them. For comparison, it queries some jobs one by one, with `squeue` and `sacct` over one open connection,
and scales the time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.slurm.cluster import Cluster  # noqa: E402
from tests.support.slurm.settings import open_remote, slurm_settings  # noqa: E402
from tests.support.slurm.sshd import Sshd  # noqa: E402

from nel_action.cli.common import session  # noqa: E402
from nel_action.lifecycle.waiting import refresh  # noqa: E402

SPEC = """\
target: {{api_endpoint: {{url: 'http://127.0.0.1:9/v1/chat/completions', model_id: none}}}}
execution:
  type: slurm
  hostname: 127.0.0.1
  port: {port}
  username: {user}
  known_hosts: '{known_hosts}'
  key_file: {key}
  output_dir: {output}
  partition: main
  runtime: none
  max_resumes: 0
  sbatch_extra_flags: {{hold: true}}
evaluation:
  tasks:
{tasks}
"""


def seconds(call: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def nel(folder: Path, *arguments: str) -> str:
    """Run the command line and return its output."""
    # NOTE: with bytecode caching, as in an installation
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    argv = (sys.executable, "-m", "nel_action", *arguments)
    result = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if result.returncode not in {0, 3, 5}:
        raise SystemExit(result.stdout + result.stderr)
    return result.stdout


def measure_status(folder: Path, invocation: str, rounds: int, title: str) -> None:
    """Measure the `status` command and count its round trips."""
    before = os.times()
    times = [seconds(lambda: nel(folder, "status", invocation)) for _ in range(rounds)]
    after = os.times()
    cpu_seconds = (after.children_user - before.children_user + after.children_system - before.children_system) / rounds
    with session(invocation) as opened:
        views = []
        polling = seconds(lambda: views.extend(refresh(opened)))
        trips = opened.executor.remote.round_trips
    states = sorted({view.state.value for view in views})
    print(f"status, {title}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}), ", end="")
    print(f"{cpu_seconds:.2f} s of CPU time; polling takes {polling:.2f} s, connecting included; ", end="")
    print(f"{trips} round trips; {len(views)} jobs {states}")


def measure_finished(invocation: str) -> None:
    """Measure a poll of finished jobs whose end is not in the ledger: from accounting and exit records."""
    with session(invocation) as opened:
        attempts = [row.backend_attempt for row in opened.attempts().values()]
        opened.executor.remote.run(["true"])
        trips = opened.executor.remote.round_trips
        duration = seconds(lambda: opened.executor.poll(attempts))
        trips = opened.executor.remote.round_trips - trips
    print(f"poll of {len(attempts)} finished jobs that the controller forgot: {duration:.2f} s, {trips} round trips")


def export_each(sshd: Sshd, ids: list[str], part: int) -> None:
    """Measure one query per job."""
    remote = open_remote(slurm_settings(sshd))
    remote.run(["true"])
    for command in (["squeue", "-h", "-o", "%T", "-j"], ["sacct", "-X", "-n", "-P", "-o", "State", "-j"]):
        duration = seconds(lambda argv=command: [remote.run([*argv, job]) for job in ids[:part]])  # type: ignore[misc]
        print(f"one query per job, {command[0]}: {duration / part * len(ids):.0f} s for {len(ids)} (measured: {part})")
    remote.close()


def write_spec(folder: Path, cluster: Cluster, sshd: Sshd, jobs: int) -> None:
    tasks = "\n".join(f"    - {{name: task{number}, harness: command, command: ['true']}}" for number in range(jobs))
    text = SPEC.format(
        port=sshd.port,
        user=sshd.user,
        known_hosts=sshd.known_hosts.strip(),
        key=sshd.key,
        output=cluster.scratch / "runs",
        tasks=tasks,
    )
    (folder / "spec.yaml").write_text(text)


def measure(folder: Path, options: argparse.Namespace) -> None:
    os.environ["NEL_ACTION_HOME"] = str(folder / "home")
    with (
        Cluster(accounting=True) as cluster,
        Sshd(cluster.user.pw_name, slurm_conf=cluster.root / "slurm.conf") as sshd,
    ):
        write_spec(folder, cluster, sshd, options.jobs)
        duration = seconds(lambda: nel(folder, "run", "spec.yaml", "--skip-endpoint-check"))
        print(f"submit: {duration:.1f} s for {options.jobs} jobs, {1000 * duration / options.jobs:.0f} ms each")
        ids = cluster.run("squeue", "-h", "-t", "all", "-o", "%A").split()
        script = next((cluster.scratch / "runs").glob("*/sbatch_*.sh"))
        command = ["sbatch", "--parsable", f"--uid={cluster.user.pw_uid}", str(script)]
        extra: list[str] = []
        bare = seconds(lambda: extra.extend(cluster.run(*command).strip() for _ in range(options.part)))
        print(f"sbatch alone on the controller's machine: {1000 * bare / options.part:.0f} ms each")
        cluster.run("scancel", *extra)
        (run_dir,) = (folder / "runs").iterdir()
        invocation = run_dir.name.rsplit("-", 1)[1]
        measure_status(folder, invocation, options.rounds, "all in the queue")
        export_each(sshd, ids, options.part)
        with session(invocation) as opened:
            from nel_action.lifecycle.cancel import cancel

            duration = seconds(lambda: cancel(opened))
        print(f"cancel and verify: {duration:.1f} s")
        cluster.forget_finished()
        measure_finished(invocation)


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", type=int, default=50, help="single queries to measure")
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), parser.parse_args())


if __name__ == "__main__":
    main()
