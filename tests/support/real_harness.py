"""Running a real harness, as an executor would: its locked environment, its command, its artifacts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.support.bindings import binding

from nel_action.formats.parsing import ParsedResult
from nel_action.harnesses.registry import harness
from nel_action.model.task import HarnessTask, Progress

__all__ = ["Finished", "environment", "run_harness", "start_harness", "uv"]


@dataclass(frozen=True)
class Finished:
    """A run that has ended, well or not."""

    exit_code: int
    artifacts: Path
    log: str
    progress: Progress | None
    task: HarnessTask
    harness: str

    def read(self) -> ParsedResult:
        """Read its results."""
        return harness(self.harness).read(self.task, self.artifacts)


def uv() -> str | None:
    """Return the installer, if there is one."""
    return shutil.which("uv")


def environment(name: str) -> Path:
    """Return the harness's environment, made from its lock once and kept in a cache."""
    lock = harness(name).requirements
    assert lock is not None
    installer = uv()
    assert installer is not None
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nel-action-tests"
    place = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as turn:
        # NOTE: tests may run side by side; the first one makes the environment, and the others wait for it.
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            target = str(place / "bin" / "python")
            subprocess.run([installer, "venv", "-q", "--clear", "-p", sys.executable, str(place)], check=True)
            install = [installer, "pip", "install", "-q", "-p", target, "--require-hashes", "-r", str(lock)]
            subprocess.run(install, check=True)
            (place / "complete").touch()
    return place


def run_harness(
    name: str, task: HarnessTask, into: Path, *, url: str, task_dir: Path | None = None, key: str | None = None
) -> Finished:
    """Run a task for real; the key, if any, is passed under the name MODEL_KEY."""
    process, finished = start_harness(name, task, into, url=url, task_dir=task_dir, key=key)
    try:
        process.wait(timeout=240)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return finished()


def start_harness(
    name: str, task: HarnessTask, into: Path, *, url: str, task_dir: Path | None = None, key: str | None = None
) -> tuple[subprocess.Popen[bytes], Callable[[], Finished]]:
    """Start a task; return its process, and what to call when that has ended."""
    artifacts, work = into / "artifacts", into / "work"
    artifacts.mkdir(parents=True)
    work.mkdir()
    command = harness(name).command(
        task,
        binding(
            url=url,
            model_id="fake",
            output_dir=PurePosixPath(artifacts),
            work_dir=PurePosixPath(work),
            task_dir=None if task_dir is None else PurePosixPath(task_dir),
            api_key_name="MODEL_KEY" if key else None,
        ),
    )
    for file, content in command.files.items():
        (work / file).write_text(content)
    secrets = {variable: {"MODEL_KEY": key or ""}[source] for variable, source in command.secret_env.items()}
    # NOTE: as in an executor, nothing of the caller's own environment but what a program cannot do without.
    own = {"HOME": os.environ["HOME"], "PATH": f"{environment(name) / 'bin'}:/usr/bin:/bin"}
    env = own | dict(command.env) | secrets
    with (into / "log").open("wb") as log:
        process = subprocess.Popen(command.argv, env=env, cwd=work, stdout=log, stderr=log)

    def finished() -> Finished:
        log = (into / "log").read_text(errors="replace")
        progress = harness(name).progress(artifacts, log[-8192:])
        return Finished(process.returncode, artifacts, log, progress, task, name)

    return process, finished
