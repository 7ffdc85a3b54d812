"""Zipped logs as written by inspect, with Zstandard compression, and damaged copies of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.recorded import RECORDED

from nel_action import files
from nel_action.cli.gate import gate
from nel_action.errors import ResultsError
from nel_action.formats.inspect_samples import load_header, load_log
from nel_action.gating.external import open_run

(LOG,) = (RECORDED / "inspect_sums_add_eval").glob("*.eval")


def test_gate_reads_a_zipped_log(tmp_path: Path) -> None:
    run = open_run(LOG.parent)
    (task,) = run.results.tasks
    assert (task.task, task.n_items, task.harness, task.task_version) == ("sums_add", 8, "inspect", "2")
    assert task.scores[0].value == 0.875
    items = run.items(task, "match.accuracy")
    assert items is not None
    assert sorted(items.values.tolist()) == [0.0, *[1.0] * 7]
    policy = tmp_path / "policy.yaml"
    policy.write_text("tasks: {sums_add: {max_drop: 0.6, direction: higher_is_better}}")
    outcome = CliRunner().invoke(gate, [str(LOG), str(LOG.parent), "-p", str(policy)])
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_readers_reject_a_truncated_log(tmp_path: Path, share: float) -> None:
    truncated = tmp_path / "truncated.eval"
    truncated.write_bytes(LOG.read_bytes()[: int(share * LOG.stat().st_size)])
    for read in (load_header, load_log, open_run):
        with pytest.raises(ResultsError, match="not a complete inspect log"):
            read(truncated)


def test_load_log_rejects_a_flipped_bit(tmp_path: Path) -> None:
    data = bytearray(LOG.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged = tmp_path / "damaged.eval"
    damaged.write_bytes(data)
    with pytest.raises(ResultsError, match="not a complete inspect log"):
        load_log(damaged)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python supports Zstandard")
def test_load_header_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_has_zstd_backport", lambda: False)
    with pytest.raises(ResultsError, match=r"nel-action\[inspect\]"):
        load_header(LOG)


def test_open_run_rejects_two_logs_of_one_task(tmp_path: Path) -> None:
    for name in ("a.eval", "b.eval"):
        (tmp_path / name).write_bytes(LOG.read_bytes())
    with pytest.raises(ResultsError, match="several results of sums_add"):
        open_run(tmp_path)
    assert open_run(tmp_path / "a.eval").results.tasks[0].n_items == 8
