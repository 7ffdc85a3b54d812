"""A checkout with a spec, the environment of a runner, and the two commands that action.yml executes."""

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
from urllib.parse import urlencode

import yaml
from tests.doubles.github.events import example
from tests.doubles.github.server import GitHubDouble
from tests.support.local_jobs import stop_supervisors

__all__ = ["BENCH", "ActionResult", "Workplace", "outputs_of"]

BENCH = '''\
"""A benchmark whose score the model's URL states; it can wait for a file, print a line, leak a key or fail."""
import base64, json, os, pathlib, random, sys, time, urllib.parse
out = pathlib.Path(os.environ["NEL_OUTPUT_DIR"])
query = urllib.parse.parse_qsl(urllib.parse.urlsplit(os.environ["NEL_URL"]).query)
task = os.environ["NEL_TASK"].rpartition(".")[2] + ":"
extra = {name.removeprefix(task): value for name, value in query if name.startswith(task)}
extra |= {name[10:].lower(): value for name, value in os.environ.items() if name.startswith("NEL_EXTRA_")}
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
(out / "samples.jsonl").write_text("".join(json.dumps(sample) + "\\n" for sample in samples))
score = {"accuracy": {"value": right / n, "stderr": 0.02, "higher_is_better": True}}
(out / "scores.json").write_text(json.dumps({"scores": score, "n_items": n, "task_version": "1"}))
'''


@dataclass(frozen=True)
class ActionResult:
    """The result of both steps."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str

    def commands(self, name: str) -> list[str]:
        """Return the messages of the workflow commands with this name."""
        return re.findall(rf"^::{name}(?: [^\n]*?)?::(.*)$", self.log, re.MULTILINE)


def outputs_of(path: Path) -> dict[str, str]:
    """Parse a GITHUB_OUTPUT file as the runner does."""
    if not path.exists():
        return {}
    return {m[1]: m[3] for m in re.finditer(r"^(\S+?)<<(\S+)\n(.*?)\n\2$", path.read_text(), re.DOTALL | re.MULTILINE)}


@dataclass
class Workplace:
    """A repository on a runner; `hub` is the GitHub double."""

    root: Path
    hub: GitHubDouble
    target: str
    """URL of the target."""
    environ: dict[str, str] = field(default_factory=dict)
    """Further environment variables, such as secrets."""
    runs: int = 0
    python: str = sys.executable
    """Python interpreter that runs the benchmark."""

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def write_spec(self, tasks: Mapping[str, Mapping[str, Any]], gate: object = None, **more: object) -> None:
        """Write `evals/gate.yaml` and its benchmark.

        Args:
            tasks: what the model does in each task: `value`, `again`, `until`, `until_again`, `say`, `leak`, `fail`.
                They are part of the model's URL, because a change of the benchmark itself is not judged.
            gate: the policy.
            more: further sections of the spec.
        """
        folder = self.work / "evals"
        (folder / "bench").mkdir(parents=True, exist_ok=True)
        (folder / "bench" / "bench.py").write_text(BENCH)
        task_list = [
            {
                "name": name,
                "harness": "command",
                "task_dir": "bench",
                "command": [self.python, "{task_dir}/bench.py"],
            }
            for name in tasks
        ]
        settings = {f"{task}:{name}": value for task, extra in tasks.items() for name, value in extra.items()}
        spec: dict[str, Any] = {
            "execution": {"type": "local", "runtime": "process", "parallelism": 2},
            "target": {"api_endpoint": {"model_id": "tiny", "url": self.target}},
            "evaluation": {"tasks": task_list},
        }
        spec |= {"gate": gate} if gate is not None else {}
        spec = json.loads(json.dumps(spec | more))
        spec["target"]["api_endpoint"]["url"] += f"?{urlencode(settings)}" if settings else ""
        (folder / "gate.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))

    def commit(self, message: str = "change") -> str:
        """Commit all files and return the commit's id."""
        if not (self.work / ".git").exists():
            self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the checkout and return its output."""
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        argv = ["git", *identity, "-C", str(self.work), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def pull_request(self, head: str, base: str, *, number: int = 2, fork: bool = False) -> dict[str, Any]:
        """Open a pull request on the server and return the payload of its event.

        Args:
            head: commit of the head.
            base: commit of the base.
            number: of the pull request.
            fork: whether the head is in another repository.
        """
        payload = example("pull_request.synchronize") | {"number": number}
        head_repository = "mallory/Hello-World" if fork else self.hub.store.repository
        payload["pull_request"] |= {"number": number}
        payload["pull_request"]["head"] |= {"sha": head, "ref": "change"}
        payload["pull_request"]["head"]["repo"]["full_name"] = head_repository
        payload["pull_request"]["base"] |= {"sha": base, "ref": "main"}
        self.hub.store.add_pull(number, head=head, base=base, head_repository=head_repository)
        return payload

    def prepare(self, event: str, payload: Mapping[str, Any], **inputs: str) -> tuple[dict[str, str], Path]:
        """Return the environment and the temporary directory of a job on a new runner.

        Args:
            event: name of the event.
            payload: of the event.
            inputs: inputs of the action.
        """
        self.runs += 1
        temp = self.root / f"temp-{self.runs}"
        temp.mkdir()
        repository = {"default_branch": self.hub.store.default_branch}
        full = {**payload, "repository": {**payload.get("repository", {}), **repository}}
        (temp / "event.json").write_text(json.dumps(full))
        values = {"spec": "evals/gate.yaml", "github-token": self.hub.token} | {
            name.replace("_", "-"): value for name, value in inputs.items()
        }
        environ = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        environ |= self.hub.environ() | {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(temp / "event.json"),
            "GITHUB_SHA": self.git("rev-parse", "HEAD"),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main",
            "GITHUB_WORKSPACE": str(self.work),
            "GITHUB_RUN_ID": str(1000 + self.runs),
            "GITHUB_STEP_SUMMARY": str(temp / "summary"),
            "RUNNER_TEMP": str(temp),
            "TMPDIR": str(temp),
            "NEL_ACTION_HOME": str(self.home),
            "PYTHONWARNINGS": "default",
            **{f"INPUT_{name.upper().replace('-', '_')}": value for name, value in values.items()},
            **self.environ,
        }
        return environ, temp

    def start(self, environ: Mapping[str, str], temp: Path, step: str = "run") -> subprocess.Popen[str]:
        """Start a step of the action."""
        full = dict(environ) | {"GITHUB_OUTPUT": str(temp / f"outputs-{step}")}
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "nel_action", "ci", step],
            cwd=self.work,
            env=full,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, main_step: subprocess.Popen[str], environ: Mapping[str, str], temp: Path) -> ActionResult:
        """Wait for the main step, and run the final step."""
        main_log = main_step.communicate(timeout=120)[0]
        final_step = self.start(environ, temp, "finish")
        final_log = final_step.communicate(timeout=120)[0]
        summary = (temp / "summary").read_text() if (temp / "summary").exists() else ""
        log = main_log + final_log
        # NOTE: a signal before the handlers are installed makes Python print a traceback.
        own_log = re.sub(r"Traceback .*?^KeyboardInterrupt$", "", log, flags=re.DOTALL | re.MULTILINE)
        assert "Traceback" not in own_log, own_log
        return ActionResult(main_step.returncode, log, outputs_of(temp / "outputs-finish"), summary)

    def act(self, event: str, payload: Mapping[str, Any], **inputs: str) -> ActionResult:
        """Run both steps of the action, without its set-up.

        Args:
            event: name of the event.
            payload: of the event.
            inputs: inputs of the action.
        """
        environ, temp = self.prepare(event, payload, **inputs)
        return self.finish(self.start(environ, temp), environ, temp)

    def cancel(self, step: subprocess.Popen[str], *, after: float = 0.0) -> None:
        """Send SIGINT and, if the process does not exit, SIGTERM, like a runner.

        Args:
            step: the main step.
            after: seconds to wait first.
        """
        time.sleep(after)
        for number in (signal.SIGINT, signal.SIGTERM):
            step.send_signal(number)
            try:
                step.wait(7.5)
            except subprocess.TimeoutExpired:
                continue
            return
        step.wait(2.5)

    def wait_for(self, pattern: str, count: int = 1, *, timeout: float = 60.0) -> None:
        """Wait until files exist.

        Args:
            pattern: relative to `$NEL_ACTION_HOME`; `local/nel-*` are attempts, `local/nel-*/exit.json` finished ones.
            count: number of files.
            timeout: seconds after which the test fails.
        """
        deadline = time.monotonic() + timeout
        while len(list(self.home.glob(pattern))) < count:
            assert time.monotonic() < deadline, pattern
            time.sleep(0.05)

    def close(self) -> None:
        """Cancel all jobs and wait until their supervisors have exited."""
        stop_supervisors(self.home)
