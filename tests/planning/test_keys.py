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
