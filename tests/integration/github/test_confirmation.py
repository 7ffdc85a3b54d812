"""Confirmation runs of failed tasks, within one call and across calls without a shared disk."""

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


def open_pull_request(workplace: Workplace, **extra: object) -> dict[str, Any]:
    """Commit a base and a head, and return the payload of their pull request."""
    workplace.write_spec({"arith": {"value": 0.44, **extra}}, POLICY)
    base = workplace.commit("base")
    return workplace.pull_request(workplace.commit("head"), base)


def count_attempts(workplace: Workplace) -> int:
    return len(list((workplace.home / "local").glob("nel-*-1")))


def snapshot_of(workplace: Workplace, payload: dict[str, Any]) -> str:
    """Return the state stored in the check."""
    (check,) = workplace.hub.store.checks_of(payload["pull_request"]["head"]["sha"])
    match = BLOCK.search((check["output"] or {}).get("text") or "")
    return gzip.decompress(base64.b64decode(match[1])).decode() if match else ""


@pytest.mark.parametrize(("again", "code"), [(0.45, 1), (0.9, 0)])
def test_confirmation_run_decides_within_one_call(workplace: Workplace, again: float, code: int) -> None:
    payload = open_pull_request(workplace, again=again)
    result = workplace.act("pull_request", payload)
    assert result.code == code, result.log
    assert count_attempts(workplace) == 2
    (comment,) = workplace.hub.store.comments_of(2)
    assert "arith failed and was run a second time with seed 1235" in comment["body"]
    assert workplace.act("pull_request", payload).code == code
    assert count_attempts(workplace) == 2


def test_collect_uses_confirmation_run_of_killed_call(workplace: Workplace, tmp_path: Path) -> None:
    payload = open_pull_request(workplace, again=0.9, until_again=str(tmp_path / "go"))
    environ, temp = workplace.prepare("pull_request", payload)
    step = workplace.start(environ, temp)
    deadline = time.monotonic() + 60
    while count_attempts(workplace) < 2 or "arith.again" not in snapshot_of(workplace, payload):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    step.kill()
    workplace.finish(step, environ, temp)
    (tmp_path / "go").touch()
    workplace.wait_for("local/nel-*/exit.json", 2)
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (workplace.home / name).unlink(missing_ok=True)
    result = workplace.act("schedule", {}, mode="collect", spec="")
    (check,) = workplace.hub.store.checks_of(payload["pull_request"]["head"]["sha"])
    assert (result.outputs["verdict"], check["conclusion"]) == ("pass", "success"), result.log
    assert count_attempts(workplace) == 2


def test_collect_submits_no_confirmation_run_and_notes_it(workplace: Workplace) -> None:
    payload = open_pull_request(workplace, again=0.9)
    workplace.act("pull_request", payload, mode="submit")
    workplace.wait_for("local/nel-*/exit.json")
    result = workplace.act("schedule", {}, mode="collect", spec="")
    assert result.outputs["verdict"] == "fail", result.log
    (comment,) = workplace.hub.store.comments_of(2)
    assert "the failing tasks were not run a second time; the first run decides" in comment["body"]
    assert count_attempts(workplace) == 1
