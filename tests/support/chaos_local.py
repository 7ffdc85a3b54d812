"""Kills engine, supervisors, submitters and containers at random times while two homes run jobs.

Both homes share an engine that this program starts, once with live-restore and once without, and half of their jobs.
Each job appends a line with its own ID to the job's log while it runs, so that two runs at the same time would be
interleaved. Afterwards every job is resumed until it has succeeded. Needs root and dockerd. The counts are printed as
JSON; the exit status is 1 if anything was lost, ran twice or was left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.docker import tiny_image
from tests.support.killing import killed_after
from tests.support.local_jobs import Bench, job, stop_supervisors, supervisor_pid

from nel_action.errors import NelActionError
from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.executors.local.docker.engine import connect
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.local.store import Store
from nel_action.model.job import Attempt, JobState, JobStatus, Key
from nel_action.planning.jobs import Job

__all__ = ["Counts", "run"]

JOBS: Final = 8
"""Jobs of a home in each round, half of which the other home has as well."""

SCRIPT: Final = """\
id=$(cat /proc/sys/kernel/random/uuid)
echo $id >> $NEL_OUTPUT_DIR/ran
i=0
while [ $i -lt 8 ]; do echo $id >> /shared/NAME; i=$((i + 1)); sleep 0.1; done
echo done >> $NEL_OUTPUT_DIR/ran
"""

KINDS: Final = ("supervisor", "supervisor", "engine", "submitter", "container", "engine+supervisor")
"""What is killed; `engine+supervisor`: the next supervisor takes over while no engine answers."""

TIMEOUT: Final = 180.0
"""Seconds until the jobs of a round must have succeeded after its last kill."""


@dataclass
class Counts:
    """What was killed, and what came of it."""

    kills: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    attempts: int = 0
    lost: int = 0
    """Jobs that did not succeed in the end."""
    overlaps: int = 0
    """Jobs of which two runs wrote at the same time."""
    repeated: int = 0
    """Attempts that ran more than once."""
    incomplete: int = 0
    """Attempts that are recorded as succeeded without a complete result."""
    leftovers: int = 0
    """Containers that remained."""

    @property
    def errors(self) -> int:
        """Everything that must be zero."""
        return self.lost + self.overlaps + self.repeated + self.incomplete + self.leftovers


@dataclass
class Engine:
    """An engine in a temporary directory."""

    root: Path
    live_restore: bool
    process: subprocess.Popen[bytes] | None = None
    containerd: subprocess.Popen[bytes] | None = None
    """Survives the engine, as it does on a machine with systemd."""

    @property
    def bridge(self) -> str:
        """Name of its own bridge; without one, dockerd deletes the default bridge of another engine."""
        return f"nelc{os.getpid()}"

    @property
    def host(self) -> str:
        return f"unix://{self.root}/docker.sock"

    def start(self) -> None:
        """Start the engine, and on the first call containerd."""
        address = str(self.root / "containerd.sock")
        if self.containerd is None:
            config = self.root / "containerd.toml"
            config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
            argv = ["containerd", "--config", str(config), "--address", address]
            argv += ["--root", str(self.root / "containerd"), "--state", str(self.root / "state")]
            self.containerd = self._spawn(argv)
            _add_bridge(self.bridge)
        (self.root / "docker.pid").unlink(missing_ok=True)
        options = ["--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec"), "--host", self.host]
        options += ["--pidfile", str(self.root / "docker.pid"), "--bridge", self.bridge, "--iptables=false"]
        options += ["--containerd", address, *(["--live-restore"] if self.live_restore else [])]
        self.process = self._spawn(["dockerd", *options])

    def _spawn(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def wait(self) -> None:
        """Wait until it answers; start it again if it gave up on a loaded machine."""
        deadline = time.monotonic() + 60
        while True:
            with suppress(NelActionError):
                connect({"DOCKER_HOST": self.host}).close()
                return
            assert time.monotonic() < deadline, (self.root / "log").read_text()[-2000:]
            if self.process is not None and self.process.poll() is not None:
                self.start()
            time.sleep(0.1)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop the engine and what it started."""
        assert self.process is not None
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        assert self.containerd is not None
        self.containerd.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.containerd.wait(30)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False)
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                # NOTE: shims of containers that an engine without live-restore forgot.
                if f"{self.root}/" in (process / "cmdline").read_text().replace("\0", " "):
                    os.kill(int(process.name), signal.SIGKILL)


def _add_bridge(name: str) -> None:
    """Add a bridge with an address that no other interface has."""
    addresses = subprocess.run(["ip", "-brief", "address"], check=True, capture_output=True, text=True).stdout
    network = next(f"172.29.{number}" for number in range(250, 0, -1) if f" 172.29.{number}." not in addresses)
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", f"{network}.1/24", "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)


@contextmanager
def engine(live_restore: bool) -> Iterator[Engine]:  # noqa: FBT001
    root = Path(tempfile.mkdtemp(prefix="nel-chaos-"))
    running = Engine(root, live_restore)
    running.start()
    try:
        running.wait()
        yield running
    finally:
        running.stop()
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted((path for path in mounts if path.startswith(f"{root}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(root, ignore_errors=True)


class Round:
    """Jobs of two homes on one engine, and what is killed meanwhile."""

    def __init__(self, number: int, running: Engine, root: Path, generator: random.Random, counts: Counts) -> None:
        self.engine, self.counts, self.generator = running, counts, generator
        self.shared = root / "shared"
        self.shared.mkdir(parents=True)
        environ = os.environ | {"DOCKER_HOST": running.host}
        self.image = self._image()
        settings = {"runtime": "docker", "network": "host", "shm_size": "16m", "parallelism": 3}
        settings["mounts"] = {"evaluation": {str(self.shared): "/shared"}}
        self.homes = [Bench(root / name, environ, settings) for name in ("one", "two")]
        self.invocations = [f"{number:08x}{index:08x}" for index in range(2)]
        names = [[f"{number}-{'both' if n % 2 else index}-{n}" for n in range(JOBS)] for index in range(2)]
        self.jobs = [[self._job(name, n) for n, name in enumerate(own)] for own in names]
        self.attempts: list[dict[Key, Attempt]] = [{}, {}]

    def _image(self) -> str:
        client = connect({"DOCKER_HOST": self.engine.host})
        try:
            return tiny_image(client)
        finally:
            client.close()

    def _job(self, name: str, index: int) -> Job:
        return job(name, "", image=self.image, command=("sh", "-c", SCRIPT.replace("NAME", name)), index=index)

    def executor(self, index: int) -> LocalExecutor:
        return self.homes[index].executor()

    def submit(self, index: int) -> None:
        executor = self.executor(index)
        for item in self.jobs[index]:
            executor.submit(item, 1, self.invocations[index])

    def statuses(self, index: int) -> dict[Key, JobStatus]:
        executor = self.executor(index)
        self.attempts[index] = dict(find_attempts(executor, [item.key for item in self.jobs[index]]))
        return dict(poll_attempts(executor, list(self.attempts[index].values())))

    def kill(self) -> None:
        """Kill something once, if it runs."""
        kind = self.generator.choice(
            ["supervisor", "supervisor", "engine", "submitter", "container", "engine+supervisor"]
        )
        index = self.generator.randrange(2)
        if kind == "submitter":
            hit = killed_after(self.generator.uniform(0, 0.05), lambda: self.submit(index))
        elif kind == "container":
            hit = self._kill_container()
        else:
            hit = kind == "supervisor" and self._kill_supervisor(index)
            if kind.startswith("engine"):
                self.engine.kill()
                hit = kind == "engine" or self._kill_supervisor(index)
                if hit:
                    self.statuses(index)
                time.sleep(self.generator.uniform(0, 0.5))
                self.engine.start()
                self.engine.wait()
        if hit:
            self.counts.kills[kind] = self.counts.kills.get(kind, 0) + 1

    def _kill_supervisor(self, index: int) -> bool:
        with suppress(AssertionError, ProcessLookupError):
            os.kill(supervisor_pid(self.homes[index].root / "home", self.invocations[index]), signal.SIGKILL)
            return True
        return False

    def _kill_container(self) -> bool:
        client = connect({"DOCKER_HOST": self.engine.host})
        try:
            containers = client.containers.list(ignore_removed=True)
            if containers:
                self.generator.choice(containers).kill()
            return bool(containers)
        except Exception:  # noqa: BLE001 it stopped by itself, or the engine is starting
            return False
        finally:
            client.close()

    def resume(self) -> bool:
        """Submit another attempt of each job that failed; return whether all have succeeded."""
        complete = True
        for index in range(2):
            statuses, executor = self.statuses(index), self.executor(index)
            for item in self.jobs[index]:
                status, attempt = statuses.get(item.key), self.attempts[index].get(item.key)
                complete &= status is not None and status.state is JobState.SUCCEEDED
                if attempt is None or status is None:
                    executor.submit(item, 1, self.invocations[index])
                elif status.state.final and status.state is not JobState.SUCCEEDED:
                    executor.submit(item, attempt.number + 1, self.invocations[index])
        return complete

    def finish(self) -> None:
        """Resume until all jobs have succeeded, then count what went wrong."""
        deadline = time.monotonic() + TIMEOUT
        while not self.resume() and time.monotonic() < deadline:
            time.sleep(0.2)
        for index, bench in enumerate(self.homes):
            statuses = self.statuses(index)
            self.counts.jobs += len(self.jobs[index])
            self.counts.lost += sum(
                item.key not in statuses or statuses[item.key].state is not JobState.SUCCEEDED
                for item in self.jobs[index]
            )
            stop_supervisors(bench.root / "home")
            for directory in Store(bench.root / "home").all():
                ran = directory.artifacts / "ran"
                lines = ran.read_text().split() if ran.exists() else []
                outcome = directory.exit_record()
                self.counts.attempts += 1
                self.counts.repeated += len(set(lines) - {"done"}) > 1
                if outcome is not None and outcome.state is JobState.SUCCEEDED:
                    self.counts.incomplete += lines[-1:] != ["done"]
        self.counts.overlaps += sum(_is_interleaved(path.read_text().split()) for path in self.shared.iterdir())
        client = connect({"DOCKER_HOST": self.engine.host})
        remaining = client.containers.list(all=True, ignore_removed=True)
        client.close()
        self.counts.leftovers += len(remaining)


def _is_interleaved(lines: list[str]) -> bool:
    """Whether a run wrote after another one had started."""
    changes = [line for previous, line in zip([None, *lines], lines, strict=False) if line != previous]
    return len(changes) != len(set(changes))


def run(kills: int, seed: int, root: Path) -> Counts:
    """Kill so often, half of it on an engine with live-restore.

    Args:
        kills: number of kills.
        seed: of the random choices.
        root: directory for homes.
    """
    generator, counts, number = random.Random(seed), Counts(), 0  # noqa: S311 not for secrets
    for live_restore in (True, False):
        target = kills // 2 if live_restore else kills
        with engine(live_restore) as running:
            while (total := sum(counts.kills.values())) < target:
                number += 1
                current = Round(number, running, root / str(number), generator, counts)
                for index in range(2):
                    current.submit(index)
                limit = min(target, total + 2 * JOBS)
                stop = time.monotonic() + 30
                while sum(counts.kills.values()) < limit and time.monotonic() < stop:
                    time.sleep(generator.uniform(0, 0.4))
                    current.kill()
                    with suppress(NelActionError):
                        current.resume()
                current.finish()
    return counts


def main() -> None:
    """Run, print the counts, and exit with 1 if anything was lost or ran twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=150)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    os.environ.pop("NEL_ACTION_HOME", None)
    root = Path(tempfile.mkdtemp(prefix="nel-chaos-homes-"))
    start = time.monotonic()
    try:
        counts = run(options.kills, options.seed, root)
    finally:
        for home in root.glob("*/*/home"):
            with suppress(Exception):
                stop_supervisors(home)
    result: dict[str, Any] = asdict(counts) | {"seconds": round(time.monotonic() - start)}
    sys.stdout.write(json.dumps(result) + "\n")
    if not counts.errors:
        shutil.rmtree(root, ignore_errors=True)
    sys.exit(1 if counts.errors else 0)


if __name__ == "__main__":
    main()
