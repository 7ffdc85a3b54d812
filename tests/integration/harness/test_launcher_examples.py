"""The launcher's local examples run whole: its configs, the real nemo-evaluator and its adapter, a stand-in benchmark.

What cannot be had here are its images and models. So the benchmark that each task names is played by a small one under
the same name, and the endpoint by a server whose every answer is known.
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
STAND_IN = ROOT / "tests/support/nemo_harness"
PAGE = ROOT / "docs/coming-from-nemo-launcher.md"


CHOSEN = (
    "local_llama_3_1_8b_instruct_limit_samples", "local_advanced_adapters", "local_basic", "local_extra_params",
    "local_reasoning", "local_safety", "local_tools", "local_nemotron-3-super-120b-a12b",
)  # fmt: skip
"""One of each kind: keys of the first releases, adapters of all kinds, parameters of the harness's own, judges."""


def examples() -> dict[str, Published]:
    """Return the newest version of each."""
    return {one.name: one for one in published() if one.name in CHOSEN}


def stand_in(folder: Path, name: str) -> Path:
    """Make a benchmark of that name."""
    made = shutil.copytree(STAND_IN, folder / "stand-in")
    file = made / "core_evals/sums/framework.yml"
    framework = yaml.safe_load(file.read_text())
    (add, *_) = framework["evaluations"]
    add["defaults"]["config"] |= {"type": name, "supported_endpoint_types": ["chat", "completions", "vlm"]}
    framework["evaluations"] = [add | {"name": name}]
    file.write_text(yaml.safe_dump(framework))
    return made


def run(example: Published, folder: Path, home: Path, url: str) -> Results:
    """Run the first task of an example through the command line; return its results."""
    from nel_action.model.task import EndpointType
    from nel_action.planning.task_resolution import find_task
    from nel_action.spec.evaluation import Task

    folder.mkdir()
    first = example.spec["evaluation"]["tasks"][0]["name"]
    entry = find_task(Task(name=first), None, EndpointType.CHAT)
    assert entry is not None
    changes = {
        "execution.runtime": "process",
        "execution.output_dir": folder / "runs",
        "target.api_endpoint.url": url,
        "config.params.limit_samples": 2,
        "evaluation.tasks.0.nemo_evaluator_config.config.params.limit_samples": 2,
        "evaluation.tasks.0.nemo_evaluator_config.config.params.task": "add",
        "evaluation.tasks.0.nemo_evaluator_config.config.params.max_new_tokens": 64,
        "evaluation.tasks.0.nemo_evaluator_config.config.params.temperature": 0.0,
        "evaluation.tasks.0.task_dir": stand_in(folder, entry.name),
        "evaluation.tasks.0.requirements": harness("nemo").requirements,
        "evaluation.tasks.0.metric": "accuracy",
    }
    names = set()
    text = yaml.safe_dump(dict(example.spec))
    for word in text.replace(":", " ").replace("'", " ").split():
        if word.isupper() and word.isidentifier():
            names.add(word)
    (folder / "variables").write_text("".join(f"{name}=value-of-{name}\n" for name in sorted(names)))
    words = [word for key, value in changes.items() for word in ("-o", f"{key}={value}")]
    words += ["-o", "~execution.mounts"] if "mounts" in example.spec["execution"] else []
    words += ["--env-file", str(folder / "variables"), "-t", first, "--wait"]
    file = example.write(folder)
    file.write_text(file.read_text().replace("???", url))
    command = [sys.executable, "-m", "nel_action", "run", str(file), *words]
    environ = {**os.environ, "NEL_ACTION_HOME": str(home), "USER": "me"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=240)
    found = list((folder / "runs").glob("*/results.json"))
    assert found, f"{example.name}: {done.stderr}"
    return read_results(found[0])


@pytest.mark.xdist_group("launcher-examples")
def test_every_local_example_runs_whole(tmp_path: Path) -> None:
    require("harness", uv() is not None, "uv is not here, which makes the harness's environment")
    home = tmp_path / "home"
    ran = examples()
    with OpenAIServer(Model(name="acme/model-1", accuracy=1)) as server, ThreadPoolExecutor(3) as pool:
        jobs = {
            name: pool.submit(run, one, tmp_path / str(index), home, server.url("chat"))
            for index, (name, one) in enumerate(ran.items())
        }
        results = {name: job.result() for name, job in jobs.items()}
    stop_supervisors(home)
    for name, found in results.items():
        (task,) = found.tasks
        assert task.outcome is JobOutcome.SUCCEEDED, f"{name}: {task.reason} {task.detail}"
        assert [(score.metric, score.n) for score in task.scores] == [("accuracy", 2)], name
    assert f"{len(ran)} of its local examples also run whole" in " ".join(PAGE.read_text().split())
