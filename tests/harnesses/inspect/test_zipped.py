"""inspect's own log format, as inspect wrote it: Zstandard inside, and torn in every way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.recorded import RECORDED

from nel_action.cli.gate import gate
from nel_action.errors import ResultsError
from nel_action.gating.external import open_run
from nel_action.harnesses.inspect import zipped
from nel_action.harnesses.inspect.log import load_head, load_log

(LOG,) = (RECORDED / "inspect_sums_add_eval").glob("*.eval")


def test_it_is_read_like_any_other(tmp_path: Path) -> None:
    run = open_run(LOG.parent)
    (task,) = run.results.tasks
    assert (task.task, task.n_items, task.harness, task.task_version) == ("sums_add", 8, "inspect", "2")
    assert task.scores[0].value == 0.875
    items = run.items(task, "match.accuracy")
    assert items is not None
    assert sorted(items.values.tolist()) == [0.0, *[1.0] * 7]
    policy = tmp_path / "policy.yaml"
    policy.write_text("tasks: {sums_add: {max_drop: 0.6, direction: higher_is_better}}")
    done = CliRunner().invoke(gate, [str(LOG), str(LOG.parent), "-p", str(policy)])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_log_is_no_log(tmp_path: Path, share: float) -> None:
    torn = tmp_path / "torn.eval"
    torn.write_bytes(LOG.read_bytes()[: int(share * LOG.stat().st_size)])
    for read in (load_head, load_log, open_run):
        with pytest.raises(ResultsError, match="not a whole inspect log"):
            read(torn)


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    data = bytearray(LOG.read_bytes())
    data[len(data) // 2] ^= 0xFF
    spoilt = tmp_path / "spoilt.eval"
    spoilt.write_bytes(data)
    with pytest.raises(ResultsError, match="not a whole inspect log"):
        load_log(spoilt)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python knows Zstandard itself")
def test_without_the_extra_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "_backport", lambda: False)
    with pytest.raises(ResultsError, match=r"nel-action\[inspect\]"):
        load_head(LOG)


def test_two_logs_of_one_task_cannot_be_told_apart(tmp_path: Path) -> None:
    for name in ("a.eval", "b.eval"):
        (tmp_path / name).write_bytes(LOG.read_bytes())
    with pytest.raises(ResultsError, match="sums_add is there twice"):
        open_run(tmp_path)
    assert open_run(tmp_path / "a.eval").results.tasks[0].n_items == 8
