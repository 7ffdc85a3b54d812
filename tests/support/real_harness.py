"""Running a real harness as an executor does: in its locked environment, with its command."""

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
    """A finished run, successful or not."""

    exit_code: int
    artifacts: Path
    log: str
    progress: Progress | None
    task: HarnessTask
    harness: str

    def read(self) -> ParsedResult:
        """Read the result."""
        return harness(self.harness).read(self.task, self.artifacts)


def uv() -> str | None:
    """Return the path of uv, if it is installed."""
    return shutil.which("uv")


def environment(name: str) -> Path:
    """Return the harness's environment, created from its requirements once and cached."""
    requirements = harness(name).requirements
    assert requirements is not None
    installer = uv()
    assert installer is not None
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nel-action-tests"
    directory = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        # NOTE: tests may run in parallel; the first creates the environment, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "complete").exists():
            target = str(directory / "bin" / "python")
            subprocess.run([installer, "venv", "-q", "--clear", "-p", sys.executable, str(directory)], check=True)
            install = [installer, "pip", "install", "-q", "-p", target, "--require-hashes", "-r", str(requirements)]
            subprocess.run(install, check=True)
            (directory / "complete").touch()
    return directory


def run_harness(
    name: str, task: HarnessTask, into: Path, *, url: str, task_dir: Path | None = None, key: str | None = None
) -> Finished:
    """Run a task; the key, if any, is passed in the variable MODEL_KEY."""
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
    """Start a task; return its process, and a function to call after the process has exited."""
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
    # NOTE: as in an executor, only the necessary variables of the caller are passed on.
    base = {"HOME": os.environ["HOME"], "PATH": f"{environment(name) / 'bin'}:/usr/bin:/bin"}
    env = base | dict(command.env) | secrets
    with (into / "log").open("wb") as log:
        process = subprocess.Popen(command.argv, env=env, cwd=work, stdout=log, stderr=log)

    def finished() -> Finished:
        log = (into / "log").read_text(errors="replace")
        progress = harness(name).progress(artifacts, log[-8192:])
        return Finished(process.returncode, artifacts, log, progress, task, name)

    return process, finished
