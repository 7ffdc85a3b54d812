"""An invocation in a check run: whole or refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.github import snapshot
from nel_action.github.snapshot import FILES, Snapshot, read_snapshot, take_snapshot

ID = "4f1c9a204f1c9a20"


def record(folder: Path, size: int = 100) -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(json.dumps({"invocation": ID, "base_dir": "/there", "x": "y" * size}))
    return folder


def taken(tmp_path: Path) -> Snapshot:
    return take_snapshot(record(tmp_path / "run"), ID, {"pull_request": 2})


def test_it_comes_back_with_its_facts_and_this_machines_folder(tmp_path: Path) -> None:
    made = taken(tmp_path)
    assert made.external_id.startswith(f"{ID}:")
    facts = read_snapshot(made.external_id, made.text, tmp_path / "back", base_dir=Path("/here"))
    assert facts == {"pull_request": 2}
    assert (tmp_path / "back/plan.json").read_bytes() == (tmp_path / "run/plan.json").read_bytes()
    assert json.loads((tmp_path / "back/invocation.json").read_bytes())["base_dir"] == "/here"


def test_line_ends_that_a_server_changed_do_no_harm(tmp_path: Path) -> None:
    made = taken(tmp_path)
    text = made.text.replace("\n", "\r\n")
    assert read_snapshot(made.external_id, text, tmp_path / "back", base_dir=tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_anything_changed_in_it_is_found(tmp_path: Path, seed: int) -> None:
    made = taken(tmp_path)
    chance = random.Random(seed)  # noqa: S311 - no secret
    at = chance.randrange(len(made.text))
    broken = made.text[:at] + chance.choice(["", "A", "\n\n", "!"]) + made.text[at + 1 :]
    if broken == made.text:
        return
    with pytest.raises(ResultsError, match="run the workflow again"):
        read_snapshot(made.external_id, broken, tmp_path / "back", base_dir=tmp_path)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("text", ["", "nothing of ours", "<!-- nel-action-state\n\n-->"])
def test_nothing_is_no_state(tmp_path: Path, text: str) -> None:
    with pytest.raises(ResultsError):
        read_snapshot(taken(tmp_path).external_id, text, tmp_path / "back", base_dir=tmp_path)


def test_what_would_not_fit_is_left_out_and_then_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "TEXT_LIMIT", 100)
    made = taken(tmp_path)
    assert made.text == ""
    with pytest.raises(ResultsError):
        read_snapshot(made.external_id, made.text, tmp_path / "back", base_dir=tmp_path)


def test_a_hundred_jobs_fit(tmp_path: Path) -> None:
    folder = record(tmp_path / "run")
    chance = random.Random(0)  # noqa: S311 - no secret
    key = (f"nel-{chance.getrandbits(64):016x}" for _ in range(100))
    jobs = [{"key": next(key), "name": f"task-{number}", "params": list(range(40))} for number in range(100)]
    (folder / "plan.json").write_text(json.dumps({"jobs": jobs}, indent=2))
    assert take_snapshot(folder, ID, {}).text


def test_a_bomb_is_not_unfolded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "UNPACKED_LIMIT", 50)
    made = taken(tmp_path)
    with pytest.raises(ResultsError):
        read_snapshot(made.external_id, made.text, tmp_path / "back", base_dir=tmp_path)
