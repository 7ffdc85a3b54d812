"""Local examples of the launcher, run with the real nemo-evaluator and its adapter.

Its images and models are not available to tests. A small benchmark with the same name replaces each benchmark, and a
server with known answers replaces the endpoint.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.local_jobs import stop_supervisors
from tests.support.published import Published, published
from tests.support.real_harness import uv
from tests.support.require import require

from nel_action.harnesses.registry import harness
from nel_action.model.results import JobOutcome, Results, read_results

pytestmark = pytest.mark.harness

ROOT = Path(__file__).parents[3]
REPLACEMENT = ROOT / "tests/support/nemo_harness"
PAGE = ROOT / "docs/coming-from-nemo-launcher.md"


SELECTED = (
    "local_llama_3_1_8b_instruct_limit_samples", "local_advanced_adapters", "local_basic", "local_extra_params",
    "local_reasoning", "local_safety", "local_tools", "local_nemotron-3-super-120b-a12b",
)  # fmt: skip
"""Examples with keys of the first releases, all kinds of adapters, parameters of the harness, and judges."""


def examples() -> dict[str, Published]:
    """Return the newest version of each selected example."""
    return {example.name: example for example in published() if example.name in SELECTED}


def replacement(folder: Path, name: str) -> Path:
    """Create a small benchmark of a name; return its task folder."""
    task_dir = shutil.copytree(REPLACEMENT, folder / "benchmark")
    file = task_dir / "core_evals/sums/framework.yml"
    framework = yaml.safe_load(file.read_text())
    (add, *_) = framework["evaluations"]
    add["defaults"]["config"] |= {"type": name, "supported_endpoint_types": ["chat", "completions", "vlm"]}
    framework["evaluations"] = [add | {"name": name}]
    file.write_text(yaml.safe_dump(framework))
    return task_dir


def run(example: Published, folder: Path, home: Path, url: str) -> Results:
    """Run the first task of an example with the command line and return the results."""
    from nel_action.model.task import EndpointType
    from nel_action.planning.task_resolution import find_task
    from nel_action.spec.evaluation import Task

    folder.mkdir()
    first = example.spec["evaluation"]["tasks"][0]["name"]
    entry = find_task(Task(name=first), None, EndpointType.CHAT)
    assert entry is not None
    overrides = {
        "execution.runtime": "process",
        "execution.output_dir": folder / "runs",
        "target.api_endpoint.url": url,
        "config.params.limit_samples": 2,
        "evaluation.tasks.0.nemo_evaluator_config.config.params.limit_samples": 2,
        "evaluation.tasks.0.nemo_evaluator_config.config.params.task": "add",
        "evaluation.tasks.0.nemo_evaluator_config.config.params.max_new_tokens": 64,
        "evaluation.tasks.0.nemo_evaluator_config.config.params.temperature": 0.0,
        "evaluation.tasks.0.task_dir": replacement(folder, entry.name),
        "evaluation.tasks.0.requirements": harness("nemo").requirements,
        "evaluation.tasks.0.metric": "accuracy",
    }
    names = set()
    text = yaml.safe_dump(dict(example.spec))
    for word in text.replace(":", " ").replace("'", " ").split():
        if word.isupper() and word.isidentifier():
            names.add(word)
    (folder / "variables").write_text("".join(f"{name}=value-of-{name}\n" for name in sorted(names)))
    options = [option for key, value in overrides.items() for option in ("-o", f"{key}={value}")]
    options += ["-o", "~execution.mounts"] if "mounts" in example.spec["execution"] else []
    options += ["--env-file", str(folder / "variables"), "-t", first, "--wait"]
    file = example.write(folder)
    file.write_text(file.read_text().replace("???", url))
    command = [sys.executable, "-m", "nel_action", "run", str(file), *options]
    environ = {**os.environ, "NEL_ACTION_HOME": str(home), "USER": "me"}
    process = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=240)
    files = list((folder / "runs").glob("*/results.json"))
    assert files, f"{example.name}: {process.stderr}"
    return read_results(files[0])


@pytest.mark.xdist_group("launcher-examples")
def test_local_examples_run_to_the_end(tmp_path: Path) -> None:
    require("harness", uv() is not None, "uv is not installed; it creates the harness's environment")
    home = tmp_path / "home"
    selected = examples()
    with OpenAIServer(Model(name="acme/model-1", accuracy=1)) as server, ThreadPoolExecutor(3) as pool:
        jobs = {
            name: pool.submit(run, example, tmp_path / str(index), home, server.url("chat"))
            for index, (name, example) in enumerate(selected.items())
        }
        results = {name: job.result() for name, job in jobs.items()}
    stop_supervisors(home)
    for name, result in results.items():
        (task,) = result.tasks
        assert task.outcome is JobOutcome.SUCCEEDED, f"{name}: {task.reason} {task.detail}"
        assert [(score.metric, score.n) for score in task.scores] == [("accuracy", 2)], name
    text = " ".join(PAGE.read_text().split())
    assert f"{len(selected)} of the local examples also run to the end in the tests" in text
