from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.gate_results import make_policy, make_run

from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import Verdict
from nel_action.lifecycle.merging import merge_runs
from nel_action.model.results import JobOutcome, TaskResult, read_samples

GOOD = [1.0] * 160 + [0.0] * 40
BAD = [0.0] * 30 + [1.0] * 130 + [0.0] * 40


def only_task(run: ResultSet) -> TaskResult:
    return run.results.tasks[0]


def both(root: Path, first: object, second: object, **changes: object) -> tuple[TaskResult, TaskResult]:
    """Save two runs in one folder, as an invocation does."""
    before = only_task(make_run(root, first))  # type: ignore[arg-type]
    (root / "samples" / "gsm8k.jsonl.gz").rename(root / "samples" / "first.jsonl.gz")
    after = only_task(make_run(root, second, **changes))  # type: ignore[arg-type]
    return before.model_copy(update={"samples": "samples/first.jsonl.gz"}), after


def verdict(result: TaskResult, root: Path, baseline: ResultSet) -> Verdict:
    run = ResultSet.from_results(baseline.results.model_copy(update={"tasks": (result,)}), root, name="both")
    policy = make_policy({"tasks": {"gsm8k": {"max_drop": 0.07}}})
    return judge_result_set(run, policy=policy, baseline=baseline, expected=["gsm8k"]).verdict


def test_merged_runs_confirm_a_repeated_failure_and_clear_a_random_one(tmp_path: Path) -> None:
    before = make_run(tmp_path / "before", GOOD)
    first, again = both(tmp_path / "a", BAD, BAD)
    assert verdict(first, tmp_path / "a", before) is Verdict.FAIL
    assert verdict(merge_runs(first, again, tmp_path / "a"), tmp_path / "a", before) is Verdict.FAIL
    first, chance = both(tmp_path / "b", BAD, GOOD)
    merged = merge_runs(first, chance, tmp_path / "b")
    assert merged.runs == 2
    assert merged.scores[0].value == pytest.approx(0.725)
    assert verdict(merged, tmp_path / "b", before) not in {Verdict.FAIL, Verdict.UNMEASURABLE}
    assert merged.samples is not None
    samples = list(read_samples(tmp_path / "b" / merged.samples))
    assert len({(sample.id, sample.repeat) for sample in samples}) == 400
    assert [sample.id for sample in read_samples(tmp_path / "b" / "samples" / "first.jsonl.gz")][:2] == ["0", "1"]


@pytest.mark.parametrize(
    "changes", [{"outcome": JobOutcome.FAILED}, {"task_version": "2"}, {"n_items": 199}, {"samples": None}]
)
def test_merge_runs_ignores_an_incompatible_second_run(tmp_path: Path, changes: dict[str, object]) -> None:
    first, again = both(tmp_path, BAD, GOOD, **changes)
    assert merge_runs(first, again, tmp_path) == first


def test_merge_runs_ignores_samples_of_other_items_and_truncated_ones(tmp_path: Path) -> None:
    first, other = both(tmp_path, BAD, {f"x{index}": value for index, value in enumerate(GOOD)})
    assert merge_runs(first, other, tmp_path) == first
    first, truncated = both(tmp_path / "t", BAD, GOOD)
    path = tmp_path / "t" / "samples" / "gsm8k.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-30])
    assert merge_runs(first, truncated, tmp_path / "t") == first
