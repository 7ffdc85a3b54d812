from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.gating.policy import check_policy
from nel_action.gating.policy_file import load_policy

POLICIES = sorted((Path(__file__).parents[2] / "examples" / "policies").glob("*.yaml"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_example_policies_are_good(path: Path) -> None:
    assert check_policy(load_policy(path), ["gsm8k", "ifeval", "mmlu"]) == []


def test_there_are_examples() -> None:
    assert len(POLICIES) >= 2
