"""Job keys are how finished and running jobs are found again, so no release may change them by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nel_action.lifecycle.loading import load
from nel_action.planning.jobs import Context
from nel_action.planning.planner import make_plan

ROOT = Path(__file__).parents[2]
GOLDEN: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("golden_keys.json").read_text())


@pytest.mark.parametrize("spec", GOLDEN)
def test_job_keys_equal_the_recorded_ones(spec: str) -> None:
    loaded = load(ROOT / spec)
    context = Context(repository="acme/models", commit="0" * 40)
    plan = make_plan(loaded.spec, context, base_dir=loaded.base_dir, locate=loaded.locate)
    assert {job.name: str(job.key) for job in plan.jobs} == GOLDEN[spec]


@pytest.mark.parametrize(
    "settings",
    [
        {"mounts": {"evaluation": {"/other": "/data"}}},
        {"network": "other"},
        {"extra_docker_args": "--env=X=1"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_change_what_a_benchmark_reads_change_its_key(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    def key(**execution: object) -> str:
        spec = {
            "execution": {"type": "local", **execution},
            "target": {"revision": "r1", "api_endpoint": {"model_id": "m", "url": "http://127.0.0.1:9/v1/completions"}},
            "evaluation": {"tasks": [{"name": "own", "harness": "command", "command": ["x"], "container": "image"}]},
        }
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps(spec))
        loaded = load(path)
        (job,) = make_plan(loaded.spec, Context(), base_dir=tmp_path, locate=loaded.locate).jobs
        return str(job.key)

    assert key() == key(memory="8g", parallelism=2, output_dir="x")
    assert key() != key(**settings)


def test_files_that_a_benchmark_reads_elsewhere_in_the_repository_change_its_key(tmp_path: Path) -> None:
    for name in ("lib/a/b.py", "requirements.txt", "more/nested.txt", "other.txt", "evals/spec.yaml", ".git/HEAD"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content\n")
    (tmp_path / "requirements.txt").write_text("-r more/nested.txt\n")
    task = {
        "name": "own",
        "harness": "command",
        "command": ["x"],
        "requirements": "../requirements.txt",
        "env_vars": {"PYTHONPATH": f"lit:/usr/lib:{tmp_path}/lib"},
    }
    spec = {
        "execution": {"type": "local", "runtime": "process"},
        "target": {"revision": "r1", "api_endpoint": {"model_id": "m", "url": "http://127.0.0.1:9/v1/completions"}},
        "evaluation": {"tasks": [task]},
    }
    (tmp_path / "evals/spec.yaml").write_text(json.dumps(spec))

    def key() -> str:
        loaded = load(tmp_path / "evals/spec.yaml")
        (job,) = make_plan(loaded.spec, Context(), base_dir=tmp_path / "evals", locate=loaded.locate).jobs
        return str(job.key)

    keys = [key()]
    for name in ("other.txt", "lib/a/b.py", "more/nested.txt", "lib/new.py"):
        (tmp_path / name).write_text("changed\n")
        keys.append(key())
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
