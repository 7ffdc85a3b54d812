"""A thousand jobs on a real Slurm cluster over SSH: submitting them, and knowing where each is.

    .venv/bin/python benchmarks/slurm_thousand.py --jobs 1000          needs root, slurmd, sshd, MariaDB

Starts a cluster with accounting on the loopback (tests/support/slurm), submits held jobs by `nel-action run`, and asks
for their status in the queue, then again when all have ended and the controller has forgotten them. Beside it: the same
questions put one by one, by `squeue` and `sacct` over one connection that is kept, measured for a part and scaled.
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


def seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def nel(folder: Path, *words: str) -> str:
    """Run the command line; return what it printed."""
    # NOTE: with bytecode kept, as where it is installed
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    words = (sys.executable, "-m", "nel_action", *words)
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3, 5}:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def status(folder: Path, invocation: str, rounds: int, what: str) -> None:
    """Measure the command, and count its round trips."""
    before = os.times()
    times = [seconds(lambda: nel(folder, "status", invocation)) for _ in range(rounds)]
    after = os.times()
    busy = (after.children_user - before.children_user + after.children_system - before.children_system) / rounds
    with session(invocation) as opened:
        views = []
        within = seconds(lambda: views.extend(refresh(opened)))
        trips = opened.executor.remote.round_trips
    states = sorted({view.state.value for view in views})
    print(f"status, {what}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f}), ", end="")
    print(f"{busy:.2f} s of a processor; of it {within:.2f} s looking, connecting included; ", end="")
    print(f"{trips} remote commands; {len(views)} jobs {states}")


def look_again(invocation: str) -> None:
    """Look at jobs that have ended as somebody does who has no record of that: in the accounts, and where they lay."""
    with session(invocation) as opened:
        attempts = [row.backend_attempt for row in opened.attempts().values()]
        opened.executor.remote.run(["true"])
        trips = opened.executor.remote.round_trips
        taken = seconds(lambda: opened.executor.poll(attempts))
        trips = opened.executor.remote.round_trips - trips
    print(
        f"a look at {len(attempts)} that ended and that the controller forgot: {taken:.2f} s, {trips} remote commands"
    )


def export_each(sshd: Sshd, ids: list[str], part: int) -> None:
    """Ask for each job alone, as a loop over jobs does."""
    with_connection = open_remote(slurm_settings(sshd))
    with_connection.run(["true"])
    for words in (["squeue", "-h", "-o", "%T", "-j"], ["sacct", "-X", "-n", "-P", "-o", "State", "-j"]):
        taken = seconds(lambda words=words: [with_connection.run([*words, one]) for one in ids[:part]])  # type: ignore[misc]
        print(f"one query each, {words[0]}: {taken / part * len(ids):.0f} s for {len(ids)} (measured: {part})")
    with_connection.close()


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
        Cluster(has_accounting=True) as cluster,
        Sshd(cluster.user.pw_name, slurm_conf=cluster.root / "slurm.conf") as sshd,
    ):
        write_spec(folder, cluster, sshd, options.jobs)
        taken = seconds(lambda: nel(folder, "run", "spec.yaml", "--skip-endpoint-check"))
        print(f"submit: {taken:.1f} s for {options.jobs} jobs, {1000 * taken / options.jobs:.0f} ms each")
        ids = cluster.run("squeue", "-h", "-t", "all", "-o", "%A").split()
        script = next((cluster.scratch / "runs").glob("*/sbatch_*.sh"))
        words = ["sbatch", "--parsable", f"--uid={cluster.user.pw_uid}", str(script)]
        extra: list[str] = []
        bare = seconds(lambda: extra.extend(cluster.run(*words).strip() for _ in range(options.part)))
        print(f"bare sbatch on the controller's machine: {1000 * bare / options.part:.0f} ms each")
        cluster.run("scancel", *extra)
        (run_dir,) = (folder / "runs").iterdir()
        invocation = run_dir.name.rsplit("-", 1)[1]
        status(folder, invocation, options.rounds, "all in the queue")
        export_each(sshd, ids, options.part)
        with session(invocation) as opened:
            from nel_action.lifecycle.cancel import cancel

            taken = seconds(lambda: cancel(opened))
        print(f"cancelled and seen to be gone: {taken:.1f} s")
        cluster.forget_finished()
        look_again(invocation)


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
