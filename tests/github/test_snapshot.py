"""The state of an invocation in a check run: complete or refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.github import snapshot
from nel_action.github.snapshot import FILES, Snapshot, read_snapshot, take_snapshot

ID = "4f1c9a204f1c9a20"


def write_run(folder: Path, size: int = 100) -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(json.dumps({"invocation": ID, "base_dir": "/there", "x": "y" * size}))
    return folder


def snapshot_of_run(tmp_path: Path) -> Snapshot:
    return take_snapshot(write_run(tmp_path / "run"), ID, {"pull_request": 2})


def test_snapshot_is_restored_with_facts_and_new_base_dir(tmp_path: Path) -> None:
    stored = snapshot_of_run(tmp_path)
    assert stored.external_id.startswith(f"{ID}:")
    facts = read_snapshot(stored.external_id, stored.text, tmp_path / "back", base_dir=Path("/here"))
    assert facts == {"pull_request": 2}
    assert (tmp_path / "back/plan.json").read_bytes() == (tmp_path / "run/plan.json").read_bytes()
    assert json.loads((tmp_path / "back/invocation.json").read_bytes())["base_dir"] == "/here"


def test_snapshot_tolerates_changed_line_endings(tmp_path: Path) -> None:
    stored = snapshot_of_run(tmp_path)
    text = stored.text.replace("\n", "\r\n")
    assert read_snapshot(stored.external_id, text, tmp_path / "back", base_dir=tmp_path)


@pytest.mark.parametrize("seed", range(10))
def test_modified_snapshot_is_refused(tmp_path: Path, seed: int) -> None:
    stored = snapshot_of_run(tmp_path)
    chance = random.Random(seed)  # noqa: S311 - no secret
    index = chance.randrange(len(stored.text))
    modified = stored.text[:index] + chance.choice(["", "A", "\n\n", "!"]) + stored.text[index + 1 :]
    if modified == stored.text:
        return
    with pytest.raises(ResultsError, match="run the workflow again"):
        read_snapshot(stored.external_id, modified, tmp_path / "back", base_dir=tmp_path)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("text", ["", "another text", "<!-- nel-action-state\n\n-->"])
def test_missing_snapshot_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ResultsError):
        read_snapshot(snapshot_of_run(tmp_path).external_id, text, tmp_path / "back", base_dir=tmp_path)


def test_snapshot_beyond_limit_is_omitted_and_refused_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "TEXT_LIMIT", 100)
    stored = snapshot_of_run(tmp_path)
    assert stored.text == ""
    with pytest.raises(ResultsError):
        read_snapshot(stored.external_id, stored.text, tmp_path / "back", base_dir=tmp_path)


def test_snapshot_of_100_jobs_fits(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    chance = random.Random(0)  # noqa: S311 - no secret
    key = (f"nel-{chance.getrandbits(64):016x}" for _ in range(100))
    jobs = [{"key": next(key), "name": f"task-{number}", "params": list(range(40))} for number in range(100)]
    (folder / "plan.json").write_text(json.dumps({"jobs": jobs}, indent=2))
    assert take_snapshot(folder, ID, {}).text


def test_snapshot_beyond_unpacked_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "UNPACKED_LIMIT", 50)
    stored = snapshot_of_run(tmp_path)
    with pytest.raises(ResultsError):
        read_snapshot(stored.external_id, stored.text, tmp_path / "back", base_dir=tmp_path)
