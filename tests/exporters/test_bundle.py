from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.runs import make_run

from nel_action.errors import ResultsError
from nel_action.exporters.bundle import load_bundle


def names(run: Path, *, logs: bool = True, only_required: bool = False, exclude: tuple[str, ...] = ()) -> list[str]:
    bundle = load_bundle(run)
    chosen = bundle.attachments(
        bundle.results.tasks[0], artifacts=True, logs=logs, only_required=only_required, exclude=exclude
    )
    return [file.name for file in chosen]


def test_attachments_are_selected_by_kind_and_pattern(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert names(run) == ["artifacts/cache/big.bin", "artifacts/results.yml", "logs/client.log"]
    assert names(run, logs=False, only_required=True) == ["artifacts/results.yml"]
    assert names(run, exclude=("*.bin", "logs/*")) == ["artifacts/results.yml"]


def test_attachments_skip_symbolic_links(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "results.yml").write_text("not yours")
    (run / "arc" / "artifacts" / "linked").symlink_to(outside)
    assert not any("linked" in name or "secret" in name for name in names(run))


def test_bundle_of_results_without_a_verdict(tmp_path: Path) -> None:
    assert load_bundle(make_run(tmp_path, judged=False)).gate is None


def test_incomplete_plan_is_rejected(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "plan.json").write_text('{"jobs": [{')
    with pytest.raises(ResultsError, match="incomplete run directory"):
        load_bundle(run)
