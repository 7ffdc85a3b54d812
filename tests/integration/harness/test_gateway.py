"""Real harnesses behind the gateway: a run that was killed continues with the answers that it received."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import pytest
from tests.doubles.openai_server import Fault, Model, OpenAIServer
from tests.support.bindings import binding, harness_task
from tests.support.real_harness import environment, uv
from tests.support.record import FOLDERS
from tests.support.require import require

from nel_action.executors.gateway import gateway_url
from nel_action.harnesses.registry import harness

pytestmark = pytest.mark.harness

SUPPORT = Path(__file__).parents[2] / "support"
TASKS = {"lm_eval": "sums_add", "inspect": "sums.py@sums_add"}
METRICS = {"lm_eval": "exact_match,strict", "inspect": "match.accuracy"}
API_KEY = "sk-known-value-of-the-target"
CONCURRENCY = 4


@pytest.fixture(autouse=True)
def _installer() -> None:
    require("harness", uv() is not None, "uv is not installed; it creates the harnesses' environments")


def start(name: str, folder: Path, server: OpenAIServer) -> subprocess.Popen[bytes]:
    """Start a harness behind the gateway, as the executors do."""
    task = harness_task(TASKS[name], parallelism=CONCURRENCY, request_timeout=60, max_retries=2, metric=METRICS[name])
    artifacts, work = folder / "artifacts", folder / "work"
    for path in (artifacts, work):
        path.mkdir(exist_ok=True)
    command = harness(name).command(
        task,
        binding(
            url=gateway_url(server.url("chat")),
            model_id="fake",
            output_dir=PurePosixPath(artifacts),
            work_dir=PurePosixPath(work),
            api_key_name="MODEL_KEY",
            task_dir=PurePosixPath(SUPPORT / FOLDERS[name]),
        ),
    )
    for file, text in command.files.items():
        (work / file).write_text(text)
    config = {"upstream": server.url("chat"), "record": str(folder / "record"), "api_key_name": "UPSTREAM"}
    (folder / "gateway.json").write_text(json.dumps(config | {"counters": str(folder / "counters.json")}))
    env = {**os.environ, **command.env, "UPSTREAM": API_KEY}
    env["PATH"] = f"{environment(name) / 'bin'}{os.pathsep}{env['PATH']}"
    options = [
        "--config",
        str(folder / "gateway.json"),
        "--clear",
        str(artifacts),
        "--earlier",
        str(folder / "earlier"),
    ]
    for variable in ("MODEL_KEY", *command.secret_env):
        options += ["--token-env", variable]
    argv = [sys.executable, "-m", "nel_action.gateway", "run", *options, "--", *command.argv]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(argv, env=env, cwd=work, stdout=log, stderr=log)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_killed_run_continues_without_paying_twice(name: str, tmp_path: Path) -> None:
    model = Model(accuracy=0.6)
    with OpenAIServer(model, api_key=API_KEY, faults=[Fault("slow", seconds=0.1)]) as server:
        with start(name, tmp_path, server) as first:
            deadline = time.monotonic() + 200
            while len(server.requests) < 9 and first.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            first.kill()
        with start(name, tmp_path, server) as second:
            assert second.wait(timeout=240) == 0, (tmp_path / "log").read_text()[-3000:]
    task = harness_task(TASKS[name], metric=METRICS[name])
    result = harness(name).read(task, tmp_path / "artifacts")
    samples = list(result.samples or ())
    expected = {sample.id: model.knows(sample.input or "") for sample in samples}
    assert {sample.id: bool(sample.scores[METRICS[name]]) for sample in samples} == expected
    assert len(samples) <= len(server.requests) <= len(samples) + CONCURRENCY
    assert json.loads((tmp_path / "counters.json").read_text())["replayed"] >= 9 - CONCURRENCY
    assert [path for path in tmp_path.rglob("*") if path.is_file() and API_KEY.encode() in path.read_bytes()] == []
