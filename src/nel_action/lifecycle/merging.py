"""Two runs of the same items as one result: what a second run, with another seed, adds to the first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nel_action.errors import ResultsError
from nel_action.model.results import JobOutcome, Sample, Score, TaskResult, read_samples, write_samples

__all__ = ["pooled"]

_SAME: Final = ("n_items", "harness", "harness_version", "task_version", "n_shot", "chat_template")


def pooled(first: TaskResult, second: TaskResult, root: Path) -> TaskResult:
    """Return the mean of two runs, their samples as repeats of the same items; usage and times stay the first run's.

    Where the second is not whole, or not of the same items and metrics, the first comes back as it is.

    Args:
        first: the run that is judged.
        second: the same job with another seed.
        root: folder that their samples' paths start from; the joined samples are written there.
    """
    if not _fit(first, second):
        return first
    samples = None
    if first.samples is not None and second.samples is not None:
        samples = first.samples.removesuffix(".jsonl.gz") + ".both.jsonl.gz"
        if not _join(root / first.samples, root / second.samples, root / samples):
            return first
    theirs = {score.metric: score for score in second.scores}
    scores = tuple(_mean(score, theirs[score.metric]) for score in first.scores)
    return first.model_copy(update={"scores": scores, "samples": samples, "runs": first.runs + second.runs})


def _fit(first: TaskResult, second: TaskResult) -> bool:
    whole = first.outcome is second.outcome is JobOutcome.SUCCEEDED and not (first.reason or second.reason)
    kept = (first.samples is None) == (second.samples is None)
    metrics = {score.metric for score in first.scores} == {score.metric for score in second.scores}
    return whole and kept and metrics and all(getattr(first, name) == getattr(second, name) for name in _SAME)


def _mean(score: Score, other: Score) -> Score:
    """Average two scores of the same items; their errors are alike, and what the items share does not average out."""
    stderr = None
    if score.stderr is not None and other.stderr is not None:
        stderr = (score.stderr + other.stderr) / 2
    return score.model_copy(update={"value": (score.value + other.value) / 2, "stderr": stderr})


def _join(first: Path, second: Path, into: Path) -> bool:
    """Write both runs' samples as repeats; False where they are not of the same items, or cannot be read."""
    try:
        seen = [(sample.id, sample.repeat) for sample in read_samples(first)]
        if {name for name, _ in seen} != {sample.id for sample in read_samples(second)}:
            return False
        write_samples(_both(first, second, 1 + max(repeat for _, repeat in seen)), into)
    except (ResultsError, ValueError):
        return False
    return True


def _both(first: Path, second: Path, shift: int) -> Iterator[Sample]:
    yield from read_samples(first)
    for sample in read_samples(second):
        yield sample.model_copy(update={"repeat": sample.repeat + shift})
