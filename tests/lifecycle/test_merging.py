"""Two runs as one result: the mean, and the samples as repeats."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.gate_results import rule, saved

from nel_action.gating.judge import judge_runs
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import Verdict
from nel_action.lifecycle.merging import pooled
from nel_action.model.results import JobOutcome, TaskResult, read_samples

GOOD = [1.0] * 160 + [0.0] * 40
BAD = [0.0] * 30 + [1.0] * 130 + [0.0] * 40


def one(run: ResultSet) -> TaskResult:
    return run.results.tasks[0]


def both(root: Path, first: object, second: object, **changes: object) -> tuple[TaskResult, TaskResult]:
    """Save two runs in one folder, as an invocation does."""
    before = one(saved(root, first))  # type: ignore[arg-type]
    (root / "samples" / "gsm8k.jsonl.gz").rename(root / "samples" / "first.jsonl.gz")
    after = one(saved(root, second, **changes))  # type: ignore[arg-type]
    return before.model_copy(update={"samples": "samples/first.jsonl.gz"}), after


def verdict(result: TaskResult, root: Path, baseline: ResultSet) -> Verdict:
    run = ResultSet.from_results(baseline.results.model_copy(update={"tasks": (result,)}), root, name="both")
    policy = rule({"tasks": {"gsm8k": {"max_drop": 0.07}}})
    return judge_runs(run, policy=policy, baseline=baseline, expected=["gsm8k"]).verdict


def test_a_failure_that_comes_again_stands_and_one_that_does_not_is_none(tmp_path: Path) -> None:
    before = saved(tmp_path / "before", GOOD)
    first, again = both(tmp_path / "a", BAD, BAD)
    assert verdict(first, tmp_path / "a", before) is Verdict.FAIL
    assert verdict(pooled(first, again, tmp_path / "a"), tmp_path / "a", before) is Verdict.FAIL
    first, chance = both(tmp_path / "b", BAD, GOOD)
    together = pooled(first, chance, tmp_path / "b")
    assert together.runs == 2
    assert together.scores[0].value == pytest.approx(0.725)
    assert verdict(together, tmp_path / "b", before) not in {Verdict.FAIL, Verdict.UNMEASURABLE}
    assert together.samples is not None
    samples = list(read_samples(tmp_path / "b" / together.samples))
    assert len({(sample.id, sample.repeat) for sample in samples}) == 400
    assert [sample.id for sample in read_samples(tmp_path / "b" / "samples" / "first.jsonl.gz")][:2] == ["0", "1"]


@pytest.mark.parametrize(
    "changes", [{"outcome": JobOutcome.FAILED}, {"task_version": "2"}, {"n_items": 199}, {"samples": None}]
)
def test_a_second_run_that_does_not_fit_changes_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    first, again = both(tmp_path, BAD, GOOD, **changes)
    assert pooled(first, again, tmp_path) == first


def test_other_items_or_torn_samples_change_nothing(tmp_path: Path) -> None:
    first, other = both(tmp_path, BAD, {f"x{place}": value for place, value in enumerate(GOOD)})
    assert pooled(first, other, tmp_path) == first
    first, torn = both(tmp_path / "t", BAD, GOOD)
    path = tmp_path / "t" / "samples" / "gsm8k.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-30])
    assert pooled(first, torn, tmp_path / "t") == first
