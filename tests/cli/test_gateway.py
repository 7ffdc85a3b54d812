"""`nel-action gateway` and `nel-action requests`, against a server with known answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.doubles.openai_server import Model, OpenAIServer

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, pathlib, urllib.request
for number in range(2):
    body = {"model": "tiny", "messages": [{"role": "user", "content": f"{number} + 1 \\x1b[31m"}]}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["NEL_URL"], json.dumps(body).encode(), headers)
    urllib.request.urlopen(request).read()
score = {"value": 0.75, "stderr": 0.05, "n": 2, "higher_is_better": True}
data = {"scores": {"accuracy": score}, "n_items": 2, "n_expected": 2}
pathlib.Path(os.environ["NEL_OUTPUT_DIR"], "scores.json").write_text(json.dumps(data))
"""


def environ(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "NEL_ACTION_HOME": str(home), **more}


@contextmanager
def proxy(url: str, record: Path, *options: str, **variables: str) -> Iterator[str]:
    """Run the command; yield the URL that it prints."""
    argv = [sys.executable, "-m", "nel_action", "gateway", "--upstream", url, "--record", str(record), *options]
    with subprocess.Popen(argv, env=environ(record, **variables), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(timeout=30) == 0


def ask(url: str, question: str) -> str:
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": question}]}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - a local server
    with urllib.request.urlopen(request) as response:  # noqa: S310 - as above
        return str(json.load(response)["choices"][0]["message"]["content"])


def test_gateway_replaces_the_url_and_replays_its_record_at_the_next_start(tmp_path: Path) -> None:
    with OpenAIServer(api_key="sk-1") as server:
        answers = []
        for _ in range(2):
            options = ("--api-key-name", "MODEL_KEY")
            with proxy(server.url("chat"), tmp_path / "record", *options, MODEL_KEY="sk-1") as url:
                assert url.startswith("http://127.0.0.1:")
                assert url.endswith("/v1/chat/completions")
                answers.append([ask(url, text) for text in ("1 + 1", "2 + 2", "1 + 1")])
        assert answers[0] == answers[1]
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--upstream", "nowhere"), "'nowhere' is not an http:// or https:// URL"),
        (("--upstream", "http://a/v1", "--api-key-name", "NOT_SET_HERE"), "the variable NOT_SET_HERE is not set"),
        (("--upstream", "http://a/v1", "--config", "none.json"), "cannot read none.json"),
        (("--record", "r"), "Missing option '--upstream'"),
    ],
)
def test_mistakes_of_gateway_exit_with_2(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    argv = [sys.executable, "-m", "nel_action", "gateway", "--record", "record", *options]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_requests_lists_and_prints_the_record_of_an_invocation(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "program.py").write_text(PROGRAM)
    with OpenAIServer(Model(name="tiny")) as server:
        spec = {
            "target": {"api_endpoint": {"url": server.url("chat"), "model_id": "tiny"}},
            "execution": {"type": "local", "runtime": "process"},
            "evaluation": {
                "tasks": [
                    {
                        "name": "alpha",
                        "harness": "command",
                        "task_dir": "own",
                        "command": [sys.executable, "{task_dir}/program.py"],
                    }
                ]
            },
        }
        (tmp_path / "spec.yaml").write_text(json.dumps(spec))

        def nel(*arguments: str) -> str:
            argv = [sys.executable, "-m", "nel_action", *arguments]
            done = subprocess.run(
                argv, cwd=tmp_path, env=environ(tmp_path / "home"), capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        nel("run", "spec.yaml", "--wait")
    (run,) = (tmp_path / "runs").iterdir()
    identity = run.name.rpartition("-")[2]
    lines = nel("requests", identity).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("alpha | 2") and "200" in line and "#0" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    entries = [json.loads(line) for line in nel("requests", identity, "--task", "alpha", "--json").splitlines()]
    assert [entry["request"]["messages"][0]["content"] for entry in entries] == ["0 + 1 \x1b[31m", "1 + 1 \x1b[31m"]
    assert {entry["invocation"] for entry in entries} == {identity}
    assert nel("requests", identity, "--failed") == ""
    results = json.loads((run / "results.json").read_text())
    assert results["tasks"][0]["recorded"] == "complete"
    assert [path.name for path in (tmp_path / "home" / "record").glob("*/1/closed")] == ["closed"]
