"""The runtime without containers: the harness as a process, in an environment of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.errors import UsageError
from nel_action.executors import virtualenvs
from nel_action.executors.local.attempt import AttemptDir
from nel_action.executors.local.interface import Exit, Launch, Places, Step
from nel_action.executors.local.record import AttemptError, JobRecord
from nel_action.executors.local.subprocesses import Child, sweep
from nel_action.model.job import Reason

__all__ = ["ProcessRuntime", "RunningChild", "base_environ"]

PASSED_ON: Final = frozenset({
    *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"),
    *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy"),
    *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    *("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"),
})  # fmt: skip
"""What a job sees of the caller's variables. All others, the caller's secrets among them, must be named in the spec."""

OUTSIDE: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})
"""Signals that a program does not send itself."""


def base_environ(environ: Mapping[str, str], programs: Path | None) -> dict[str, str]:
    """Return the variables that every job has; `programs` comes first on its path."""
    passed = {name: value for name, value in environ.items() if name in PASSED_ON or name.startswith("LC_")}
    path = passed.get("PATH", os.defpath)
    return passed | {"PATH": f"{programs}{os.pathsep}{path}" if programs else path}


@dataclass(slots=True)
class RunningChild:
    """A child process as a program that runs."""

    child: Child
    kills: int | None
    """How many programs the kernel had ended for want of memory when it started."""

    async def wait(self) -> Exit:
        """Wait for its end."""
        status = await self.child.wait()
        if status >= 0:
            return Exit(code=status)
        oom = -status == signal.SIGKILL and ended_for_memory(self.child.pid, self.kills)
        return Exit(code=128 - status, oom=oom, outside=-status in OUTSIDE)

    async def end(self) -> None:
        """End it with all that it started."""
        await self.child.end()


@dataclass(slots=True)
class ProcessRuntime:
    """One attempt as a process."""

    attempt: AttemptDir
    record: JobRecord
    home: Path
    environ: Mapping[str, str]

    @property
    def places(self) -> Places:
        """The attempt's own directories."""
        path = PurePosixPath(self.attempt.path)
        return Places(artifacts=path / "artifacts", work=path / "work", task=path / "task")

    @property
    def requirements(self) -> Path | None:
        """The attempt's own copy of the requirements file."""
        return self.attempt.path / "requirements.txt" if self.record.job.requirements else None

    async def setup(self) -> Sequence[Step]:
        """Return the making of the environment, where it is not there."""
        try:
            if self.requirements is None or virtualenvs.find_virtualenv(self.home, self.requirements):
                return []
        except UsageError as error:
            raise AttemptError.failed(Reason.REJECTED, str(error)) from error
        module = (sys.executable, "-P", "-m", virtualenvs.__name__)
        argv = (*module, str(self.home), "-r", str(self.requirements))
        phase = f"installing {self.record.job.harness}"
        return [Step(phase=phase, argv=argv, reason=Reason.INFRASTRUCTURE)]

    async def recover(self) -> RunningChild | None:
        """Find out that nobody started it, or that it died with its agent; end what it left."""
        if (started := self.attempt.started()) is None:
            return None
        sweep(str(self.attempt.path), started)
        raise AttemptError.failed(Reason.INFRASTRUCTURE, "its supervisor was killed, and the job with it")

    async def start(self, launch: Launch) -> RunningChild:
        """Start it in its environment."""
        programs = virtualenvs.find_virtualenv(self.home, self.requirements) if self.requirements else None
        kills = oom_kills()
        child = await Child.start(
            launch.argv,
            env={**base_environ(self.environ, programs), **launch.env},
            cwd=self.attempt.work,
            log=self.attempt.client_log,
            mark=self.attempt.path,
            started=self.attempt.started_file,
        )
        return RunningChild(child, kills)

    async def discard(self) -> None:
        """Nothing is left of a process."""


def oom_kills() -> int | None:
    """Return how many programs the kernel has ended for want of memory; None where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def ended_for_memory(pid: int, kills_before: int | None) -> bool:
    """Whether the kernel ended that process for want of memory.

    Its log names the process, where we may read it; else all we know is whether it ended any meanwhile.
    """
    wanted = f"Killed process {pid} ".encode()
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return kills_before is not None and (oom_kills() or 0) > kills_before
    try:
        return any(wanted in record for record in _records(log))
    finally:
        os.close(log)


def _records(log: int) -> Iterator[bytes]:
    """Yield what the kernel's log holds now."""
    while True:
        try:
            yield os.read(log, 8192)
        except BrokenPipeError:
            continue  # NOTE: that record was overwritten meanwhile; the next one is there
        except OSError:
            return
