"""A checkout with a spec, a runner's environment around it, and the two commands that action.yml executes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.doubles.github.events import example
from tests.doubles.github.server import GitHubDouble
from tests.support.local_jobs import stop_supervisors

__all__ = ["Done", "Workplace"]

BENCH = '''\
"""A benchmark whose score the spec says; it may wait for a file, print a line or leave results out."""
import base64, json, os, pathlib, random, sys, time, urllib.parse
out = pathlib.Path(os.environ["NEL_OUTPUT_DIR"])
extra = {name[10:].lower(): value for name, value in os.environ.items() if name.startswith("NEL_EXTRA_")}
print(extra.get("say", "hello"), flush=True)
deadline = time.monotonic() + 120
until = extra.get("until_again" if os.environ["NEL_SEED"] == "1235" else "until")
while until and not pathlib.Path(until).exists() and time.monotonic() < deadline:
    time.sleep(0.02)
if extra.get("leak"):
    key = os.environ[extra["leak"]]
    print("key:", key, json.dumps(json.dumps(key)), urllib.parse.quote(key, safe=""), key.encode().hex(), flush=True)
    print(*(base64.b64encode(f"{user}:{key}".encode()).decode() for user in ("a", "ab", "abc")), flush=True)
if extra.get("fail"):
    sys.exit(int(extra["fail"]))
value = extra.get("again", extra.get("value", "0.8")) if os.environ["NEL_SEED"] == "1235" else extra.get("value", "0.8")
n, right = 400, round(400 * float(value))
hits = [i * right // n != (i + 1) * right // n for i in range(n)]
samples = [{"id": str(i), "scores": {"accuracy": float(hit)}} for i, hit in enumerate(hits)]
(out / "samples.jsonl").write_text("".join(json.dumps(one) + "\\n" for one in samples))
score = {"accuracy": {"value": right / n, "stderr": 0.02, "higher_is_better": True}}
(out / "scores.json").write_text(json.dumps({"scores": score, "n_items": n, "task_version": "1"}))
'''


@dataclass(frozen=True)
class Done:
    """What the two steps left."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str

    def commands(self, name: str) -> list[str]:
        """Return the messages of one kind of workflow command."""
        return re.findall(rf"^::{name}(?: [^\n]*?)?::(.*)$", self.log, re.MULTILINE)


def outputs_of(path: Path) -> dict[str, str]:
    """Read a GITHUB_OUTPUT file as the runner does."""
    if not path.exists():
        return {}
    return {m[1]: m[3] for m in re.finditer(r"^(\S+?)<<(\S+)\n(.*?)\n\2$", path.read_text(), re.DOTALL | re.MULTILINE)}


@dataclass
class Workplace:
    """One repository on one runner; `hub` is its GitHub."""

    root: Path
    hub: GitHubDouble
    target: str
    """URL of the model under test."""
    environ: dict[str, str] = field(default_factory=dict)
    """Further variables, such as secrets."""
    runs: int = 0
    python: str = sys.executable
    """What runs the benchmark."""

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def write_spec(self, tasks: Mapping[str, Mapping[str, Any]], gate: object = None, **more: object) -> None:
        """Write `evals/gate.yaml` and its benchmark."""
        folder = self.work / "evals"
        (folder / "bench").mkdir(parents=True, exist_ok=True)
        (folder / "bench" / "bench.py").write_text(BENCH)
        listed = [
            {
                "name": name,
                "harness": "command",
                "task_dir": "bench",
                "command": [self.python, "{task_dir}/bench.py"],
                "params": {"extra": dict(extra)},
            }
            for name, extra in tasks.items()
        ]
        spec: dict[str, Any] = {
            "execution": {"type": "local", "runtime": "process", "parallelism": 2},
            "target": {"api_endpoint": {"model_id": "tiny", "url": self.target}},
            "evaluation": {"tasks": listed},
        }
        spec |= {"gate": gate} if gate is not None else {}
        (folder / "gate.yaml").write_text(yaml.safe_dump(spec | more, sort_keys=False))

    def commit(self, message: str = "change") -> str:
        """Commit everything; return the commit's id."""
        if not (self.work / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, "-C", str(self.work), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def pull_request(self, head: str, base: str, *, number: int = 2, fork: bool = False) -> dict[str, Any]:
        """Return the payload of a pull request, and open it on the server."""
        payload = example("pull_request.synchronize") | {"number": number}
        home = "mallory/Hello-World" if fork else self.hub.store.repository
        payload["pull_request"] |= {"number": number}
        payload["pull_request"]["head"] |= {"sha": head, "ref": "change"}
        payload["pull_request"]["head"]["repo"]["full_name"] = home
        payload["pull_request"]["base"] |= {"sha": base, "ref": "main"}
        self.hub.store.add_pull(number, head=head, base=base, head_repository=home)
        return payload

    def prepare(self, event: str, payload: Mapping[str, Any], **inputs: str) -> tuple[dict[str, str], Path]:
        """Return the environment of one job on a fresh runner."""
        self.runs += 1
        temp = self.root / f"temp-{self.runs}"
        temp.mkdir()
        (temp / "event.json").write_text(json.dumps(payload))
        given = {"spec": "evals/gate.yaml", "github-token": self.hub.token} | {
            name.replace("_", "-"): value for name, value in inputs.items()
        }
        environ = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        environ |= self.hub.environ() | {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(temp / "event.json"),
            "GITHUB_SHA": self.git("rev-parse", "HEAD"),
            "GITHUB_REF_NAME": "main",
            "GITHUB_WORKSPACE": str(self.work),
            "GITHUB_RUN_ID": str(1000 + self.runs),
            "GITHUB_STEP_SUMMARY": str(temp / "summary"),
            "RUNNER_TEMP": str(temp),
            "TMPDIR": str(temp),
            "NEL_ACTION_HOME": str(self.home),
            "PYTHONWARNINGS": "default",
            **{f"INPUT_{name.upper().replace('-', '_')}": value for name, value in given.items()},
            **self.environ,
        }
        return environ, temp

    def start(self, environ: Mapping[str, str], temp: Path, step: str = "run") -> subprocess.Popen[str]:
        """Start one step."""
        full = dict(environ) | {"GITHUB_OUTPUT": str(temp / f"outputs-{step}")}
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "nel_action", "ci", step],
            cwd=self.work,
            env=full,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, running: subprocess.Popen[str], environ: Mapping[str, str], temp: Path) -> Done:
        """Wait for the first step, then do the one that always runs."""
        first = running.communicate(timeout=120)[0]
        last = self.start(environ, temp, "finish")
        second = last.communicate(timeout=120)[0]
        summary = (temp / "summary").read_text() if (temp / "summary").exists() else ""
        # NOTE: a cancel may come before the first line of ours; then Python itself says so.
        said = re.sub(r"Traceback .*?^KeyboardInterrupt$", "", first + second, flags=re.DOTALL | re.MULTILINE)
        assert "Traceback" not in said, said
        return Done(running.returncode, first + second, outputs_of(temp / "outputs-finish"), summary)

    def act(self, event: str, payload: Mapping[str, Any], **inputs: str) -> Done:
        """Do the whole of the action, without its set-up."""
        environ, temp = self.prepare(event, payload, **inputs)
        return self.finish(self.start(environ, temp), environ, temp)

    def cancel(self, running: subprocess.Popen[str], *, after: float = 0.0) -> None:
        """Send what a runner sends: SIGINT and, if need be, SIGTERM; no wait where the process is gone."""
        time.sleep(after)
        for number in (signal.SIGINT, signal.SIGTERM):
            running.send_signal(number)
            try:
                running.wait(7.5)
            except subprocess.TimeoutExpired:
                continue
            return
        running.wait(2.5)

    def close(self) -> None:
        """Leave no job behind."""
        stop_supervisors(self.home)
