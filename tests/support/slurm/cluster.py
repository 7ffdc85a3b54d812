"""A real Slurm cluster on the loopback interface; starts within a second, with accounting within a few."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.slurm.conf import ClusterConf
from tests.support.slurm.daemons import Daemon, children, process_gone, wait_until

__all__ = ["Cluster", "cluster_user", "missing_programs"]

USER = "nel-test"


def missing_programs(*, accounting: bool) -> str:
    """Return why no cluster can be started on this machine; empty if one can."""
    needed = ["munged", "slurmctld", "slurmd", "sbatch", "sshd"] + ["slurmdbd", "mariadbd"] * accounting
    missing = [name for name in needed if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]
    return f"not installed: {', '.join(missing)}" if missing else "" if os.geteuid() == 0 else "slurmd needs root"


def cluster_user() -> pwd.struct_passwd:
    """Return the unprivileged user that submits the jobs; create it if necessary."""
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    # NOTE: '*' and not '!', since sshd without PAM rejects locked accounts.
    subprocess.run(["useradd", "-m", "-s", "/bin/bash", "-p", "*", USER], check=True)
    return pwd.getpwnam(USER)


class Cluster:
    """Starts on entry and removes everything on exit; daemons are stopped by the process IDs in their own PID files."""

    def __init__(self, *, accounting: bool = False, nodes: int = 2, min_job_age: int = 300) -> None:
        root = Path(tempfile.mkdtemp(prefix="nel-slurm-"))
        root.chmod(0o755)
        self.conf = ClusterConf(root=root, accounting=accounting, nodes=nodes, min_job_age=min_job_age)
        self.root = root
        self.user = cluster_user()
        self.scratch = root / "scratch"
        """A directory of the user, in the role of a shared file system."""
        self.env: Mapping[str, str] = os.environ | {"SLURM_CONF": str(root / "slurm.conf"), "TZ": "UTC"}

    def daemon(self, name: str, file: str = "") -> Daemon:
        """Return a daemon (`slurmctld`, `slurmdbd`, `mariadbd`, `munged`)."""
        return Daemon(name, self.root / f"run/{file or name}.pid")

    def node(self, name: str) -> Daemon:
        """Return the daemon of a node."""
        return self.daemon("slurmd", f"slurmd-{name}")

    def run(self, *argv: str, check: bool = True, seconds: float = 60) -> str:
        """Run a Slurm command as root and return its output.

        Raises:
            RuntimeError: it failed, unless `check` is false.
        """
        result = subprocess.run(argv, env=self.env, text=True, capture_output=True, timeout=seconds, check=False)
        if check and result.returncode:
            msg = f"{argv}: {result.returncode}: {result.stderr}"
            raise RuntimeError(msg)
        return result.stdout

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        hosts = Path("/etc/hosts")
        if self.conf.host not in hosts.read_text().split():
            with hosts.open("a") as out:
                out.write(f"127.0.0.1 {self.conf.host}\n")
        self.conf.write()
        self.scratch.mkdir()
        os.chown(self.scratch, self.user.pw_uid, self.user.pw_gid)
        munge = {"key-file": "munge/key", "socket": "munge/sock", "seed-file": "munge/seed"}
        munge |= {"pid-file": "run/munged.pid", "log-file": "log/munged.log"}
        self.run("munged", *[f"--{name}={self.root / file}" for name, file in munge.items()])
        if self.conf.accounting:
            self._start_mariadb()
            self.start_database()
            self.run("sacctmgr", "-iQ", "add", "cluster", "ci")
        self.start_controller("-c", "-i")
        for name in self.conf.node_names:
            self.start_node(name)
        self.wait_for_nodes()

    def wait_for_nodes(self) -> None:
        """Wait until all nodes accept jobs."""
        wait_until(lambda: len(self._ready()) == self.conf.nodes, seconds=60, what="all nodes to be up")

    def _ready(self) -> list[str]:
        return self.run("sinfo", "-h", "-N", "-p", "main", "-t", "idle,mix,alloc", "-o", "%N", check=False).split()

    def _start_mariadb(self) -> None:
        data, log = self.root / "db", self.root / "log/mariadb.log"
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
        self.run(*install, "--auth-root-authentication-method=normal")
        server = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", "--bind-address=127.0.0.1"]
        server += [f"--port={self.conf.ports[2]}", f"--socket={self.root}/run/db.sock", "--skip-name-resolve"]
        server += [f"--pid-file={self.root}/run/mariadbd.pid", "--innodb-buffer-pool-size=64M", "--skip-log-bin"]
        server += ["--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0"]
        with log.open("wb") as out:
            self._mariadb = subprocess.Popen(
                [*server, "--innodb-flush-method=nosync"],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        ping = ["mariadb-admin", "--no-defaults", "-S", f"{self.root}/run/db.sock", "-u", "root", "ping"]
        wait_until(lambda: "alive" in self.run(*ping, check=False), seconds=60, what="MariaDB to answer")

    def start_database(self) -> None:
        """Start slurmdbd and wait until it answers.

        Raises:
            TimeoutError: it does not answer.
        """
        self.run("slurmdbd")
        try:
            wait_until(
                lambda: "Cluster" in self.run("sacctmgr", "list", "cluster", check=False), seconds=60, what="slurmdbd"
            )
        except TimeoutError as error:
            logs = "".join((self.root / f"log/{name}.log").read_text()[-1500:] for name in ("slurmdbd", "mariadb"))
            msg = f"slurmdbd does not answer; ends of the logs:\n{logs}"
            raise TimeoutError(msg) from error

    def start_controller(self, *flags: str) -> None:
        """Start slurmctld and wait until it answers: it detaches before it has read its configuration."""
        self.run("slurmctld", *flags)
        wait_until(lambda: "UP" in self.run("scontrol", "ping", check=False), seconds=30, what="slurmctld to answer")

    def stop_controller(self) -> None:
        """Stop slurmctld; jobs continue."""
        self.daemon("slurmctld").stop()

    def start_node(self, name: str) -> None:
        """Start slurmd of a node."""
        self.run("slurmd", "-N", name)

    def kill_node(self, name: str) -> list[int]:
        """Kill a node's daemon and freeze its steps; return the frozen processes for `revive_node`."""
        self.node(name).signal(signal.SIGKILL)
        frozen = [pid for pid in self.step_daemons() if name in _cmdline(pid)] or self.step_daemons()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        return frozen

    def kill_processes(self, job: str) -> None:
        """Kill all processes of a job, its script first, so that it writes no exit record."""
        of_job, of_cluster = f"SLURM_JOB_ID={job}".encode(), f"SLURM_CONF={self.root}/slurm.conf".encode()
        for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            with suppress(OSError):
                environ = (folder / "environ").read_bytes().split(b"\0")
                if of_job not in environ or of_cluster not in environ:
                    continue
                if (folder / "comm").read_text() != "slurmstepd\n":
                    os.kill(int(folder.name), signal.SIGKILL)

    def revive_node(self, name: str, frozen: Iterable[int]) -> None:
        """Resume the frozen processes, which then exit, and start the node again."""
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.start_node(name)
        self.wait_for_nodes()

    def step_daemons(self) -> list[int]:
        """Return the process IDs of this cluster's slurmstepd daemons."""
        of_cluster = f"SLURM_CONF={self.root}/slurm.conf".encode()
        pids = []
        for comm in Path("/proc").glob("[0-9]*/comm"):
            with suppress(OSError):
                environ = (comm.parent / "environ").read_bytes().split(b"\0")
                if comm.read_text() == "slurmstepd\n" and of_cluster in environ:
                    pids.append(int(comm.parent.name))
        return pids

    def forget_finished(self) -> None:
        """Make the controller forget finished jobs immediately instead of minutes later."""
        conf = self.root / "slurm.conf"
        text = conf.read_text()
        conf.write_text(text.replace(f"MinJobAge={self.conf.min_job_age}", "MinJobAge=2"))
        self.run("scontrol", "reconfigure")
        try:
            finished = ["squeue", "-h", "-t", "CD,F,CA,TO,NF,OOM,PR", "-o", "%i"]
            wait_until(lambda: not self.run(*finished).strip(), seconds=60, what="finished jobs to be forgotten")
        finally:
            conf.write_text(text)
            self.run("scontrol", "reconfigure")

    def cancel_all(self) -> None:
        """Cancel all jobs and wait until none is left; nodes may need a minute after an outage of the controller."""
        self.run("scancel", "--full", "-s", "KILL", "-t", "RUNNING", "-u", USER, check=False)
        if waiting := self.run("squeue", "-h", "-o", "%A", check=False).split():
            self.run("scancel", "-Q", *waiting, check=False)
        left = ["squeue", "-h", "-t", "PENDING,RUNNING,SUSPENDED,CONFIGURING", "-o", "%A"]
        wait_until(lambda: not self.run(*left, check=False).split(), seconds=60, what="no jobs")

    def stop(self) -> None:
        """Stop everything and remove the directory."""
        if self.daemon("slurmctld").pid:
            with suppress(TimeoutError, subprocess.TimeoutExpired):
                self.cancel_all()
        for name in self.conf.node_names:
            self.node(name).stop()
        for name in ("slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.daemon(name).stop(seconds=20)
        for pid in self.step_daemons():
            for each in [pid, *children(pid)]:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            wait_until(lambda pid=pid: process_gone(pid), seconds=5, what="a step daemon to exit")  # type: ignore[misc]
        if process := getattr(self, "_mariadb", None):
            process.wait(timeout=30)
        self._remove_cgroups()
        shutil.rmtree(self.root, ignore_errors=True)

    def _remove_cgroups(self) -> None:
        for top in Path("/sys/fs/cgroup").glob(f"*/slurm_{self.conf.prefix}[0-9]*"):
            for below in sorted(top.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
                with suppress(OSError):
                    below.rmdir()
            with suppress(OSError):
                top.rmdir()


def _cmdline(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
