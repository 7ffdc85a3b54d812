"""The program as harnesses are started with it: `run` as their parent, `serve` as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nel_action.gateway.__main__ import PLACEHOLDER, STOPPED

pytestmark = pytest.mark.slow

GATEWAY = (sys.executable, "-m", "nel_action.gateway")
ANSWER = json.dumps({"model": "acme", "choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}).encode()
HARNESS = """
import json, os, sys, urllib.request
url, key = sys.argv[1], os.environ["OPENAI_API_KEY"]
request = urllib.request.Request(url, b'{"messages": []}', {"Authorization": "Bearer " + key})
answer = urllib.request.urlopen(request).read().decode()
json.dump({"url": url, "environ": dict(os.environ), "answer": answer}, sys.stdout)
sys.exit(7)
"""


class Handler(BaseHTTPRequestHandler):
    keys: list[str | None] = []  # noqa: RUF012 - read by the test

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.keys.append(self.headers["authorization"])
        self.send_response(200)
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    Handler.keys = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(endpoint: str, tmp_path: Path) -> Path:
    path = tmp_path / "gateway.json"
    settings = {"upstream": endpoint, "record": str(tmp_path / "record"), "api_key_name": "MODEL_API_KEY"}
    path.write_text(json.dumps(settings))
    return path


ENVIRON = {**os.environ, "MODEL_API_KEY": "sk-endpoint"}


def run(config: Path, *argv: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = (*GATEWAY, "run", "--config", str(config), *options, "--", *argv)
    return subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False, timeout=60)


def test_run_gives_the_harness_its_address_and_a_token_in_place_of_the_key(config: Path) -> None:
    argv = (sys.executable, "-c", HARNESS, f"http://{PLACEHOLDER}/v1/chat/completions")
    done = run(config, *argv, options=("--token-env", "OPENAI_API_KEY"))
    assert done.returncode == 7, done.stderr
    seen = json.loads(done.stdout)
    assert seen["url"].startswith("http://127.0.0.1:")
    assert json.loads(seen["answer"]) == json.loads(ANSWER)
    assert "sk-endpoint" not in done.stdout
    assert "127.0.0.1" in seen["environ"]["NO_PROXY"].split(",")
    assert Handler.keys == ["Bearer sk-endpoint"]


def test_run_fills_the_address_into_files_anew_at_each_start(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "harness.yaml"
    path.write_text(f"url: http://{PLACEHOLDER}/v1\n")
    texts = [run(config, "cat", str(path), options=("--file", str(path))).stdout for _ in range(2)]
    assert all(text.startswith("url: http://127.0.0.1:") for text in texts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_run_forwards_signals_and_dies_of_the_signal_that_killed_the_harness(
    config: Path, number: signal.Signals
) -> None:
    command = (*GATEWAY, "run", "--config", str(config), "--", "sh", "-c", "echo started; exec sleep 60")
    with subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == -number


def test_the_harness_does_not_outlive_a_killed_gateway(config: Path) -> None:
    command = (*GATEWAY, "run", "--config", str(config), "--", "sh", "-c", "echo $$; exec sleep 60")
    with subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        # NOTE: standard output ends when its last holder, the harness, has ended.
        assert process.stdout.read() == ""
        assert not Path(f"/proc/{child}/exe").exists()


def test_run_ends_the_harness_with_a_status_of_its_own_when_the_budget_is_exhausted(
    config: Path, tmp_path: Path
) -> None:
    settings = json.loads(config.read_text())
    counters = tmp_path / "counters.json"
    config.write_text(json.dumps({**settings, "budget": {"requests": 1}, "counters": str(counters)}))
    script = """
import sys, urllib.request
for number in range(5):
    print(number, flush=True)
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], b'{"messages": [], "seed": %d}' % number)).read()
"""
    done = run(config, sys.executable, "-c", script, f"http://{PLACEHOLDER}/v1/chat/completions")
    assert done.returncode == STOPPED["budget"] == 121
    assert done.stdout.split() == ["0", "1"]
    assert "budget.requests is exhausted: 1 requests of 1 were paid" in done.stderr
    assert json.loads(counters.read_text())["stopped"]["reason"] == "budget"


def test_run_begins_another_pass_if_the_proxy_dies_and_replays_its_answers(config: Path, tmp_path: Path) -> None:
    work, earlier = tmp_path / "work", tmp_path / "earlier"
    work.mkdir()
    script = tmp_path / "harness.sh"
    # NOTE: the first harness kills its parent, the proxy, and leaves a process behind.
    (tmp_path / "ask.py").write_text(HARNESS)
    script.write_text(
        f"{sys.executable} {tmp_path}/ask.py $1 > {work}/answer; test $(ls {earlier} 2> {tmp_path}/none | wc -l) = 1 "
        f"&& exit 5; sleep 60 & echo $! > {work}/left; kill -9 $PPID; wait"
    )
    argv = ("sh", str(script), f"http://{PLACEHOLDER}/v1/chat/completions")
    options = ("--token-env", "OPENAI_API_KEY", "--clear", str(work), "--earlier", str(earlier))
    done = run(config, *argv, options=options)
    assert done.returncode == 5, done.stderr
    assert "the proxy died (signal 9)" in done.stderr
    assert "pass 2 begins" in done.stderr
    assert len(Handler.keys) == 1
    left = int((earlier / "1" / "work" / "left").read_text())
    assert not Path(f"/proc/{left}/exe").exists()
    assert (work / "answer").exists()


def test_run_gives_up_after_three_restarts_and_never_restarts_after_a_signal_to_end(config: Path) -> None:
    done = run(config, "sh", "-c", "kill -9 $PPID; sleep 60")
    assert done.returncode == 70
    assert done.stderr.count("the proxy died (signal 9)") == 4
    command = (
        *GATEWAY,
        "run",
        "--config",
        str(config),
        "--",
        "sh",
        "-c",
        "trap 'kill -9 $PPID' TERM; echo x; sleep 60 & wait",
    )
    with subprocess.Popen(command, env=ENVIRON, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "x\n"
        process.terminate()
        assert process.wait(timeout=30) == -signal.SIGTERM


def test_counters_of_each_pass_are_kept_with_the_status_of_its_harness(config: Path, tmp_path: Path) -> None:
    counters = tmp_path / "counters.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"counters": str(counters)}))
    for status in (3, 4):
        assert run(config, "sh", "-c", f"exit {status}").returncode == status
    passes = [json.loads(path.read_text())["program"]["status"] for path in (tmp_path / "counters.1.json", counters)]
    assert passes == [3, 4]


def test_run_returns_127_for_a_missing_program(config: Path) -> None:
    done = run(config, "no-such-program")
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


def test_serve_writes_its_address_and_ends_on_sigterm(config: Path, tmp_path: Path) -> None:
    address = tmp_path / "address"
    command = (*GATEWAY, "serve", "--config", str(config), "--address-file", str(address))
    with subprocess.Popen(command, env=ENVIRON) as process:
        while not address.exists():
            assert process.poll() is None
            time.sleep(0.01)
        written, pid = address.read_text().split()
        assert int(pid) == process.pid
        host, _, port = written.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port))
        connection.request("POST", "/v1/chat/completions", b'{"messages": []}')
        assert connection.getresponse().read() == ANSWER
        connection.close()
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the configuration is not JSON"),
        ("[]", "the configuration is not a JSON object"),
        ("{}", "upstream is missing"),
        ('{"upstream": "http://user:secret@a/b"}', "upstream contains a user name or password"),
        ('{"upstream": "http://a/b", "retries": 3}', "unknown key 'retries'"),
        ('{"upstream": "http://a/b", "max_retries": "3"}', "max_retries: '3' is not of type int"),
        ('{"upstream": "http://a/b", "max_retries": true}', "max_retries: True is not of type int"),
        ('{"upstream": "http://a/b", "max_retries": -1}', "max_retries: -1 is negative"),
        ('{"upstream": "http://a/b", "request_timeout": 0}', "request_timeout: 0.0 is not a positive number"),
        ('{"upstream": "http://a/b", "store": "some"}', "store: 'some' is neither 'all' nor 'answers'"),
        ('{"upstream": "http://a/b", "api_key_name": "NOT_SET"}', "the variable NOT_SET is not set"),
        ('{"upstream": "http://a/b", "budget": {"money": 1}}', "budget: unknown key 'money'"),
        ('{"upstream": "http://a/b", "budget": {"requests": -1}}', "budget.requests: -1.0 is negative"),
        ('{"upstream": "http://a/b", "budget": {"cost": 1}}', "budget.cost needs prices.input and prices.output"),
        ('{"upstream": "http://a/b", "prices": {"input": "1"}}', "prices.input: '1' is not of type float"),
        ('{"upstream": "http://a/b", "adapter": {"prompt": "1"}}', "adapter: unknown key 'prompt'"),
        ('{"upstream": "a/b"}', "'a/b' is not an http:// or https:// URL"),
    ],
)
def test_mistakes_in_the_configuration_exit_with_2(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(text)
    done = run(path, "true")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_configuration_exits_with_2(tmp_path: Path) -> None:
    assert run(tmp_path / "none.json", "true").returncode == 2
