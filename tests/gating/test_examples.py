from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.gating.policy import check_policy, load_policy

POLICIES = sorted((Path(__file__).parents[2] / "examples" / "policies").glob("*.yaml"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_example_policy_is_valid(path: Path) -> None:
    assert check_policy(load_policy(path), ["gsm8k", "ifeval", "mmlu"]) == []


def test_examples_exist() -> None:
    assert len(POLICIES) >= 2
