"""What fails is run once more before a change is blamed: in one call, and across calls that share no disk."""

from __future__ import annotations

import base64
import gzip
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.workplace import Workplace

from nel_action.github.snapshot import BLOCK

POLICY = {"tasks": {"arith": {"min": 0.5}}, "confirm": {}}


def opened(place: Workplace, **extra: object) -> dict[str, Any]:
    """Commit a base and a change."""
    place.write_spec({"arith": {"value": 0.44, **extra}}, POLICY)
    base = place.commit("base")
    return place.pull_request(place.commit("head"), base)


def attempts(place: Workplace) -> int:
    return len(list((place.home / "local").glob("nel-*-1")))


def snapshot_of(place: Workplace, payload: dict[str, Any]) -> str:
    """Return what the check knows of the plan."""
    (check,) = place.hub.store.checks_of(payload["pull_request"]["head"]["sha"])
    match = BLOCK.search((check["output"] or {}).get("text") or "")
    return gzip.decompress(base64.b64decode(match[1])).decode() if match else ""


def results_of(place: Workplace, count: int) -> None:
    """Wait until so many runs have left their scores."""
    deadline = time.monotonic() + 60
    while len(list((place.home / "local").glob("nel-*/artifacts/scores.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)


@pytest.mark.parametrize(("again", "code"), [(0.45, 1), (0.9, 0)])
def test_in_one_call(place: Workplace, again: float, code: int) -> None:
    payload = opened(place, again=again)
    done = place.act("pull_request", payload)
    assert done.code == code, done.log
    assert attempts(place) == 2
    (comment,) = place.hub.store.comments_of(2)
    assert "arith failed and was run once more, with seed 1235" in comment["body"]
    assert place.act("pull_request", payload).code == code
    assert attempts(place) == 2


def test_a_call_that_dies_during_the_second_run_is_concluded_with_both(place: Workplace, tmp_path: Path) -> None:
    payload = opened(place, again=0.9, until_again=str(tmp_path / "go"))
    environ, temp = place.prepare("pull_request", payload)
    running = place.start(environ, temp)
    deadline = time.monotonic() + 60
    while attempts(place) < 2 or "arith.again" not in snapshot_of(place, payload):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    place.finish(running, environ, temp)
    (tmp_path / "go").touch()
    results_of(place, 2)
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (place.home / name).unlink(missing_ok=True)
    done = place.act("schedule", {}, mode="collect", spec="")
    (check,) = place.hub.store.checks_of(payload["pull_request"]["head"]["sha"])
    assert (done.outputs["verdict"], check["conclusion"]) == ("pass", "success"), done.log
    assert attempts(place) == 2


def test_collect_submits_nothing_and_says_so(place: Workplace) -> None:
    payload = opened(place, again=0.9)
    place.act("pull_request", payload, mode="submit")
    results_of(place, 1)
    done = place.act("schedule", {}, mode="collect", spec="")
    assert done.outputs["verdict"] == "fail", done.log
    (comment,) = place.hub.store.comments_of(2)
    assert "what failed was not run once more; one run decides" in comment["body"]
    assert attempts(place) == 1
