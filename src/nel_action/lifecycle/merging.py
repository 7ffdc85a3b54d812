"""Merging of a result with that of its confirmation run: the same items, measured twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nel_action.errors import ResultsError
from nel_action.lifecycle.measurements import merge_measurements
from nel_action.model.results import JobOutcome, Sample, Score, TaskResult, read_samples, write_samples

__all__ = ["merge_runs"]

_EQUAL_FIELDS: Final = ("n_items", "harness", "harness_version", "task_version", "n_shot", "chat_template")


def merge_runs(first: TaskResult, second: TaskResult, root: Path) -> TaskResult:
    """Return the mean of two runs, with their samples as repeats of the same items.

    Health and amounts are those of both runs; the harness's own usage and the times remain those of the first run. If
    the second run is incomplete, or of other items or metrics, the first result is returned unchanged.

    Args:
        first: result of the original run.
        second: result of the same job with another seed.
        root: directory that the paths of samples are relative to; the merged samples are written there.
    """
    if not _mergeable(first, second):
        return first
    samples = None
    if first.samples is not None and second.samples is not None:
        samples = first.samples.removesuffix(".jsonl.gz") + ".both.jsonl.gz"
        if not _merge_samples(root / first.samples, root / second.samples, root / samples):
            return first
    others = {score.metric: score for score in second.scores}
    scores = tuple(_mean(score, others[score.metric]) for score in first.scores)
    both = {"scores": scores, "samples": samples, "runs": first.runs + second.runs}
    return first.model_copy(update=both | merge_measurements(first, second))


def _mergeable(first: TaskResult, second: TaskResult) -> bool:
    complete = first.outcome is second.outcome is JobOutcome.SUCCEEDED and not (first.reason or second.reason)
    both_or_neither = (first.samples is None) == (second.samples is None)
    metrics = {(s.metric, s.excluded) for s in first.scores} == {(s.metric, s.excluded) for s in second.scores}
    equal = all(getattr(first, field) == getattr(second, field) for field in _EQUAL_FIELDS)
    return complete and both_or_neither and metrics and equal


def _mean(score: Score, other: Score) -> Score:
    """Return the mean of two scores of the same items.

    The standard error is the mean of both: the variance between items, which dominates it, is common to the two runs
    and does not average out.
    """
    stderr = None
    if score.stderr is not None and other.stderr is not None:
        stderr = (score.stderr + other.stderr) / 2
    return score.model_copy(update={"value": (score.value + other.value) / 2, "stderr": stderr})


def _merge_samples(first: Path, second: Path, merged: Path) -> bool:
    """Write the samples of both runs as repeats; return False if their items differ or cannot be read."""
    try:
        repeats = [(sample.id, sample.repeat) for sample in read_samples(first)]
        if {item for item, _ in repeats} != {sample.id for sample in read_samples(second)}:
            return False
        write_samples(_both(first, second, 1 + max(repeat for _, repeat in repeats)), merged)
    except (ResultsError, ValueError):
        return False
    return True


def _both(first: Path, second: Path, shift: int) -> Iterator[Sample]:
    yield from read_samples(first)
    for sample in read_samples(second):
        yield sample.model_copy(update={"repeat": sample.repeat + shift})
