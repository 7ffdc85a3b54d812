"""A git checkout with a spec of small programs that record every run of theirs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """
import json, os, pathlib, sys, time
name, seconds, code = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
with open(os.environ["RAN"], "a") as log:
    log.write(f"{name}\\n")
time.sleep(seconds)
if code == 0:
    score = {"value": 0.75, "stderr": 0.05, "n": 40, "higher_is_better": True}
    data = {"scores": {"accuracy": score}, "n_items": 40, "n_expected": 40}
    pathlib.Path(os.environ["NEL_OUTPUT_DIR"], "scores.json").write_text(json.dumps(data))
sys.exit(code)
"""


@dataclass
class Project:
    """A git checkout, a home directory of its own, and a record of the programs that ran."""

    folder: Path
    tasks: tuple[str, ...] = ("alpha", "beta", "gamma")
    seconds: float = 0.1
    extra: str = ""
    """YAML that is appended to the spec."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "own").mkdir(exist_ok=True)
        (self.folder / "own" / "program.py").write_text(PROGRAM)
        self.write_spec()
        for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "spec"]):
            self.git(*arguments)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"]
        done = subprocess.run(
            ["git", "-C", str(self.folder), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write_spec(self, codes: dict[str, int] | None = None) -> None:
        """Write the spec; `codes` are the exit codes of failing tasks."""
        lines = [
            "target: {api_endpoint: {url: 'http://127.0.0.1:9/v1/chat/completions', model_id: tiny}}",
            "execution: {type: local, runtime: process, parallelism: 2, output_dir: runs}",
            f"env_vars: {{RAN: 'lit:{self.ran_file}'}}",
            "evaluation:",
            "  tasks:",
        ]
        for task in self.tasks:
            code = (codes or {}).get(task, 0)
            argv = json.dumps([sys.executable, "{task_dir}/program.py", task, str(self.seconds), str(code)])
            lines.append(f"    - {{name: {task}, harness: command, task_dir: own, command: {argv}}}")
        (self.folder / "spec.yaml").write_text("\n".join([*lines, self.extra, ""]))

    @property
    def ran_file(self) -> Path:
        return self.folder.parent / f"{self.folder.name}-ran"

    @property
    def ran(self) -> list[str]:
        """Names of the programs that ran, in order."""
        return self.ran_file.read_text().split() if self.ran_file.exists() else []

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "NEL_ACTION_"))}
        return kept | {"NEL_ACTION_HOME": str(self.folder.parent / f"{self.folder.name}-home"), "NO_COLOR": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "nel_action", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def nel(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nel_action", *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.nel("run", "spec.yaml", "--skip-endpoint-check", *arguments, timeout=timeout)

    @property
    def runs(self) -> list[Path]:
        """The run directories, oldest first; two may have the same time in their names."""
        return sorted((self.folder / "runs").glob("*"), key=lambda run: (run.name[:19], run.stat().st_ctime_ns))


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    """Send a signal to the process alone, not to its children, and wait for its end."""
    process.send_signal(number)
    process.communicate(timeout=60)
