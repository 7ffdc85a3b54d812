"""The process runtime: the harness as a process in a virtual environment."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import UsageError
from nel_action.executors import virtualenvs
from nel_action.executors.local.attempt import AttemptDir, AttemptError, JobRecord
from nel_action.executors.local.gateway import counters_file
from nel_action.executors.local.interface import ExitStatus, HarnessPaths, Launch, SetupStep
from nel_action.executors.local.subprocesses import Subprocess, kill_leftovers
from nel_action.model.job import Reason

__all__ = ["ProcessRuntime", "RunningProcess", "base_environ"]

INHERITED: Final = frozenset({
    *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
    *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy"),
    *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    *("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"),
})  # fmt: skip
"""Variables of the caller that a job inherits; all others, which may be secrets, must be named in the spec."""

EXTERNAL_SIGNALS: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})
"""Signals that a program does not send to itself."""


def base_environ(environ: Mapping[str, str], bin_dir: Path | None) -> dict[str, str]:
    """Return the variables of every job; `bin_dir` is prepended to its PATH."""
    inherited = {name: value for name, value in environ.items() if name in INHERITED or name.startswith("LC_")}
    path = inherited.get("PATH", os.defpath)
    return inherited | {"PATH": f"{bin_dir}{os.pathsep}{path}" if bin_dir else path}


@dataclass(slots=True)
class RunningProcess:
    """A subprocess as a `RunningProgram`."""

    process: Subprocess
    oom_kills: int | None
    """The kernel's out-of-memory kill counter when the process started."""
    counters: Path | None = None
    """Counters of the gateway, which name the harness that it started; the file is missing without a gateway."""

    async def wait(self) -> ExitStatus:
        """Wait until it has terminated."""
        status = await self.process.wait()
        if status >= 0:
            return ExitStatus(code=status)
        pids = (self.process.pid, harness_pid(self.counters))
        oom = -status == signal.SIGKILL and any(pid is not None and killed_by_oom(pid, self.oom_kills) for pid in pids)
        return ExitStatus(code=128 - status, oom=oom, killed=-status in EXTERNAL_SIGNALS)

    async def terminate(self) -> None:
        """Terminate it and everything that it started."""
        await self.process.terminate()


@dataclass(slots=True)
class ProcessRuntime:
    """Runs one attempt as a process."""

    attempt: AttemptDir
    record: JobRecord
    home: Path
    environ: Mapping[str, str]

    @property
    def paths(self) -> HarnessPaths:
        """The attempt's own directories."""
        attempt = self.attempt
        return HarnessPaths(
            artifacts=PurePosixPath(attempt.artifacts),
            work=PurePosixPath(attempt.work),
            task=PurePosixPath(attempt.path / "task"),
        )

    @property
    def requirements(self) -> Path | None:
        """The attempt's copy of the requirements file."""
        return self.attempt.path / "requirements.txt" if self.record.job.requirements else None

    async def setup(self) -> Sequence[SetupStep]:
        """Return the creation of the virtual environment if it does not exist."""
        try:
            if self.requirements is None or virtualenvs.find_virtualenv(self.home, self.requirements):
                return []
        except UsageError as error:
            raise AttemptError.failed(Reason.REJECTED, str(error)) from error
        module = (sys.executable, "-P", "-m", virtualenvs.__name__)
        argv = (*module, str(self.home), "-r", str(self.requirements))
        phase = f"installing {self.record.job.harness}"
        return [SetupStep(phase=phase, argv=argv, reason=Reason.INFRASTRUCTURE)]

    async def recover(self) -> RunningProcess | None:
        """Return None if it was never started; kill what remains if it died with its supervisor."""
        if (started := self.attempt.start_record()) is None:
            return None
        kill_leftovers(str(self.attempt.path), started)
        raise AttemptError.failed(Reason.INFRASTRUCTURE, "its supervisor was killed, and the job with it")

    async def predecessor(self) -> None:
        """Return None: the locks of the job are enough for processes."""

    async def start(self, launch: Launch) -> RunningProcess:
        """Start it in its virtual environment."""
        bin_dir = virtualenvs.find_virtualenv(self.home, self.requirements) if self.requirements else None
        oom_kills = read_oom_kills()
        process = await Subprocess.start(
            launch.argv,
            env={**base_environ(self.environ, bin_dir), **launch.env},
            cwd=self.attempt.work,
            log=self.attempt.client_log,
            mark=self.attempt.path,
            started=self.attempt.started_file,
        )
        return RunningProcess(process, oom_kills, counters_file(self.attempt))

    async def stop(self) -> None:
        """Do nothing; a process is never lost from sight."""

    async def discard(self) -> None:
        """Do nothing; nothing remains of a process."""


def harness_pid(counters: Path | None) -> int | None:
    """Return the process ID of the harness that a gateway started; None if there is no gateway."""
    if counters is None:
        return None
    try:
        return int(json.loads(counters.read_bytes())["program"]["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_oom_kills() -> int | None:
    """Return the kernel's out-of-memory kill counter; None if it is not readable."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def killed_by_oom(pid: int, oom_kills: int | None) -> bool:
    """Whether the kernel killed a process because memory was exhausted.

    The kernel's log names the process. Where the log is not readable, any out-of-memory kill since the start counts.

    Args:
        pid: ID of the process.
        oom_kills: the kill counter when it started.
    """
    entry = f"Killed process {pid} ".encode()
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return oom_kills is not None and (read_oom_kills() or 0) > oom_kills
    try:
        return any(entry in record for record in _kernel_log(log))
    finally:
        os.close(log)


def _kernel_log(log: int) -> Iterator[bytes]:
    """Yield the current records of the kernel's log."""
    while True:
        try:
            yield os.read(log, 8192)
        except BrokenPipeError:
            continue  # NOTE: that record was overwritten; the next read returns the oldest remaining one.
        except OSError:
            return
