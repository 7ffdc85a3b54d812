"""One workflow with its job in a container, as hosted runners and job containers are: nothing there but Python and git.

`NEL_ACTION_TEST_ACT=containers` has every other workflow here run in this way too; it takes some minutes.
"""

from __future__ import annotations

import pytest
from tests.support.act import Act
from tests.support.images.build import docker

pytestmark = [pytest.mark.act, pytest.mark.docker]

FLOOR = {"tasks": {"arith": {"min": 0.5}}}


def test_the_gate_works_in_a_container(contained: Act) -> None:
    place = contained.place
    place.write_spec({"arith": {"value": 0.8}}, FLOOR)
    base = place.commit("base")
    place.write_spec({"arith": {"value": 0.2}}, {"tasks": {"arith": {"min": 0.01}}})
    head = place.commit("head")
    payload = place.pull_request(head, base)
    payload["pull_request"]["labels"] = [{"name": "evaluate"}]
    ran = contained.run("gate.yml", "pull_request", payload, secrets={"MODEL_API_KEY": "k3y-of-model"})
    assert ran.code == 1, ran.log
    (check,) = place.hub.store.checks_of(head)
    assert check["conclusion"] == "failure"
    (comment,) = place.hub.store.comments_of(2)
    assert "0.5 → 0.01" in comment["body"], "git in the container showed the base's rules"
    assert (contained.artifacts / "nel-action-benchmark-gate/results.json").exists()
    assert "k3y-of-model" not in ran.log
    assert docker("ps", "--all", "--quiet", "--filter", f"volume={place.root}") == ""
