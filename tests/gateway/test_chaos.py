"""A seeded part of `scripts/chaos gateway`: random kills lose and repeat no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.chaos_gateway import NEEDED, TARGETS, Chaos

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("targets", "kills"), [(TARGETS, 12), (("harness",), 8)])
def test_random_kills_lose_no_answer_and_repeat_only_those_in_flight(
    tmp_path: Path, targets: tuple[str, ...], kills: int
) -> None:
    report = Chaos(tmp_path, seed=7, targets=targets).run(kills)
    assert report.problems == []
    if targets == ("harness",):
        assert report.asked == NEEDED * report.rounds
