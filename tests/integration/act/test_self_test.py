"""The self-test workflow of this repository, with a real model and two real benchmarks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.doubles.github.events import example
from tests.support.act import ROOT, Act, copy_action

pytestmark = [pytest.mark.act, pytest.mark.model]

FEWER = {
    "seed: 1234}": "seed: 1234, limit_samples: 4}",
    "min: 0.30": "min: 0.01, floor: point",
    "min: 0.10": "min: 0.01, floor: point",
}
"""Replacements that shorten the test: four items per benchmark, and limits that four items can decide."""


@pytest.mark.timeout(600)
def test_self_test_workflow_passes_and_fails_as_expected(act: Act) -> None:
    workplace = act.workplace
    copy_action(workplace.work, "examples", ".github")
    spec = workplace.work / "examples/quickstart.yaml"
    text = spec.read_text()
    for old, new in FEWER.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    spec.write_text(text)
    sha = workplace.commit("the repository")
    payload = example("push") | {"after": sha, "ref": "refs/heads/main"}
    ran = replace(act, source=ROOT / ".github/workflows", timeout=560).run("self-test.yml", "push", payload)
    assert ran.code == 0, ran.log
    (check,) = workplace.hub.store.checks_of(sha)
    assert (check["name"], check["conclusion"]) == ("Quickstart", "success")
    assert (act.artifacts / "nel-action-quickstart/results.json").exists()
    assert "Quickstart: passed" in ran.summary
    assert "99.0 %" in ran.summary, "the policy of the second job is stricter"
