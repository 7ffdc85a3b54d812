"""A workflow in a container that, like a hosted runner or a job container, has only Python and git.

`NEL_ACTION_TEST_ACT=containers` runs all other workflows of this package in containers as well, which takes minutes.
"""

from __future__ import annotations

import pytest
from tests.support.act import Act
from tests.support.images.build import docker

pytestmark = [pytest.mark.act, pytest.mark.docker]

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def test_gate_runs_in_container(contained: Act) -> None:
    workplace = contained.workplace
    workplace.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = workplace.commit("base")
    workplace.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.01}}})
    head = workplace.commit("head")
    payload = workplace.pull_request(head, base)
    payload["pull_request"]["labels"] = [{"name": "evaluate"}]
    ran = contained.run("gate.yml", "pull_request", payload, secrets={"MODEL_API_KEY": "k3y-of-model"})
    assert ran.code == 1, ran.log
    (check,) = workplace.hub.store.checks_of(head)
    assert check["conclusion"] == "failure"
    (comment,) = workplace.hub.store.comments_of(2)
    assert "0.5 → 0.01" in comment["body"], "the base is read with git in the container"
    assert (contained.artifacts / "nel-action-benchmark-gate/results.json").exists()
    assert "k3y-of-model" not in ran.log
    assert docker("ps", "--all", "--quiet", "--filter", f"volume={workplace.root}") == ""
