"""This repository's own workflow that uses the action on itself: a real model, two real benchmarks, both its jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.doubles.github.events import example
from tests.support.act import ROOT, Act, copy_of_the_action

pytestmark = [pytest.mark.act, pytest.mark.model]

FEWER = {
    "seed: 1234}": "seed: 1234, limit_samples: 4}",
    "min: 0.30": "min: 0.01, floor: point",
    "min: 0.10": "min: 0.0",
}
"""What keeps this short: four questions of each benchmark, and floors that so few can tell something about."""


@pytest.mark.timeout(600)
def test_the_action_gates_its_own_repository(act: Act) -> None:
    place = act.place
    copy_of_the_action(place.work, "examples", ".github")
    spec = place.work / "examples/quickstart.yaml"
    text = spec.read_text()
    for old, new in FEWER.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    spec.write_text(text)
    sha = place.commit("the repository")
    payload = example("push") | {"after": sha, "ref": "refs/heads/main"}
    ran = replace(act, source=ROOT / ".github/workflows", patience=560).run("self-test.yml", "push", payload)
    assert ran.code == 0, ran.log
    (check,) = place.hub.store.checks_of(sha)
    assert (check["name"], check["conclusion"]) == ("Quickstart", "success")
    assert (act.artifacts / "nel-action-quickstart/results.json").exists()
    assert "Benchmark gate: passed" in ran.summary
    assert "0.99" in ran.summary, "the second job's gate is the stricter one"
