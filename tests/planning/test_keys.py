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
