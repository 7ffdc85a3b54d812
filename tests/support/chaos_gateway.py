"""Random kills of a harness and its gateway, and what must hold afterwards.

    python -m tests.support.chaos_gateway --kills 300 --seed 1

The harness asks each question four times at once, at a temperature above 0, and the endpoint gives a new answer each
time.
A round ends when the harness has finished. Then every question must have four distinct answers, another pass must
receive the same ones without a single new request, and the endpoint must have been asked at most once more for each
request in flight when a gateway was killed, and never more if only harnesses were killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Chaos", "Report"]

QUESTIONS, REPEATS = 25, 4
NEEDED = QUESTIONS * REPEATS
TARGETS = ("harness", "proxy", "watchdog")
HARNESS = f"""
import concurrent.futures, json, os, sys, urllib.request
def ask(question):
    body = {{"model": "m", "temperature": 0.9, "messages": [{{"role": "user", "content": question}}]}}
    request = urllib.request.Request(sys.argv[1], json.dumps(body).encode(), {{"Content-Type": "application/json"}})
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
answers = {{}}
with concurrent.futures.ThreadPoolExecutor({REPEATS}) as pool:
    for number in range({QUESTIONS}):
        answers[number] = sorted(pool.map(ask, [f"question {{number}}"] * {REPEATS}))
with open(sys.argv[2] + ".partial", "w") as file:
    json.dump(answers, file)
os.replace(sys.argv[2] + ".partial", sys.argv[2])
"""


class QuietServer(ThreadingHTTPServer):
    """Prints nothing about connections that a killed client broke."""

    def handle_error(self, *_: object) -> None:
        """Print nothing."""


class Endpoint:
    """Answers each request differently, after a few milliseconds, and counts the requests."""

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][0]["content"]
                with endpoint._lock:
                    endpoint.requests += 1
                    number = endpoint.requests
                time.sleep(0.005)
                choice = {"index": 0, "finish_reason": "stop", "message": {"content": f"{question}: {number}"}}
                data = json.dumps({"model": "m", "choices": [choice]}).encode()
                with suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/chat/completions"

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Serve in a thread."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@dataclass
class Report:
    """Result of several rounds."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    asked: int = 0
    """Requests that the endpoint received."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Chaos:
    """Runs rounds until enough processes were killed."""

    folder: Path
    seed: int
    targets: Sequence[str] = TARGETS
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - reproducible, not secret
        (self.folder / "harness.py").write_text(HARNESS)

    def run(self, kills: int) -> Report:
        """Kill at least that many processes; return what was found."""
        while self.report.kills.total() < kills:
            self._round(self.folder / f"round-{self.report.rounds}")
            self.report.rounds += 1
        return self.report

    def _round(self, folder: Path) -> None:
        folder.mkdir()
        endpoint, before = Endpoint(), self.report.kills.copy()
        config = {"upstream": endpoint.url, "record": str(folder / "record")}
        (folder / "gateway.json").write_text(json.dumps(config))
        with endpoint.serve():
            while not (folder / "answers").exists():
                self._disturbed_run(folder)
            answers = json.loads((folder / "answers").read_text())
            asked = endpoint.requests
            (folder / "answers").unlink()
            with self._start(folder) as process:
                process.wait(timeout=120)
            again = json.loads((folder / "answers").read_text())
        self.report.asked += asked
        killed = self.report.kills - before
        allowed = NEEDED + REPEATS * (killed["proxy"] + killed["watchdog"])
        checks = {
            f"{asked} requests for {NEEDED} answers after {dict(killed)}": NEEDED <= asked <= allowed,
            "the endpoint was asked again by the last pass": endpoint.requests == asked,
            "the last pass received other answers": again == answers,
            "a question has fewer than four distinct answers": all(len(set(a)) == REPEATS for a in answers.values()),
        }
        self.report.problems += [f"{folder.name}: {text}" for text, holds in checks.items() if not holds]

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        harness = [sys.executable, str(self.folder / "harness.py"), "http://nel-gateway.invalid/v1/chat/completions"]
        gateway = [sys.executable, "-m", "nel_action.gateway", "run", "--config", str(folder / "gateway.json"), "--"]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen([*gateway, *harness, str(folder / "answers")], stdout=log, stderr=log)

    def _disturbed_run(self, folder: Path) -> None:
        """Start the harness and kill one of its processes after a random time, unless it has finished before."""
        with self._start(folder) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=self._random.uniform(0.1, 0.9))
            target = self._random.choice(self.targets)
            pid = find(process.pid, target)
            if pid is not None and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.report.kills[target] += 1
            process.wait(timeout=120)


def find(watchdog: int, target: str) -> int | None:
    """Return the process ID of a target below a watchdog; None if it does not run yet or any more."""
    pid: int | None = watchdog
    for _ in range(("watchdog", "proxy", "harness").index(target)):
        pid = None if pid is None else next(children(pid), None)
    return pid


def children(parent: int) -> Iterator[int]:
    """Yield the IDs of the child processes of a process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == parent:
                yield int(path.parent.name)


def main() -> int:
    """Run the rounds, print the report, and return 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        report = Chaos(Path(name), options.seed, options.targets).run(options.kills)
    needed = NEEDED * report.rounds
    print(f"{dict(report.kills)} killed in {report.rounds} rounds; {report.asked} requests for {needed} answers")  # noqa: T201 a command
    for problem in report.problems:
        print(problem)  # noqa: T201 a command
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
