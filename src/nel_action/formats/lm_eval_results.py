"""What lm-evaluation-harness leaves: one `results_<time>.json`, and beside it a samples file for each task.

A score is believed only where the file is this run's (its task, its limit) and its samples are all there. The traps:
lm-eval ends with 0 when it could not save; "N/A" stands for a standard error it could not compute; a metric may have
been scored on fewer documents than were asked; a group's score may be weighted in a way that the file does not tell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nel_action.errors import ResultsError
from nel_action.formats.lm_eval_samples import Leaf, Tally, stream, survey
from nel_action.formats.parsing import (
    ParsedResult,
    choose_metric,
    directed,
    expected_items,
    finite,
    limited,
    load_json,
    only_file,
    shaped,
    text,
    whole,
)
from nel_action.model.results import Score
from nel_action.model.task import HarnessTask

__all__ = ["read_results"]


def read_results(task: HarnessTask, artifacts: Path) -> ParsedResult:
    """Read what one run of one task or group left: in a folder that holds no other run, or its results file itself.

    Raises:
        ResultsError: files are missing, truncated, of another run or task, or hold no finite score.
    """
    wanted = "results_*.json"
    path = artifacts if artifacts.is_file() else only_file(artifacts.rglob(wanted), wanted=wanted)
    with shaped(path.name):
        return _read(task, path, load_json(path))


def _read(task: HarnessTask, path: Path, data: Mapping[str, Any]) -> ParsedResult:
    _check_run(data, task, path)
    table = _part(data, "results", task.name)
    leaves = [_leaf(data, name, path) for name in _leaf_names(data, task.name)]
    tallies = _tallies(leaves)
    scores = tuple(_scores(data, task, table, tallies))
    if not scores:
        msg = f"{path.name} holds no finite score of {task.name}"
        raise ResultsError(msg, hint="name the tasks of a group that has no score of its own")
    _check_means(data, scores, leaves, tallies)
    paired = {score.metric for score in scores if _is_mean(score, tallies.get(score.metric))}
    primary = choose_metric(task.metric, [score.metric for score in scores])
    return ParsedResult(
        scores=directed(scores, primary, task.higher_is_better),
        primary_metric=primary,
        n_items=sum(leaf.effective for leaf in leaves),
        n_expected=_expected(task, leaves),
        harness_version=text(data.get("lm_eval_version")),
        task_version=_version(data, task.name, leaves),
        task_hash=_hash(data, leaves),
        n_shot=whole(_maybe(data, "n-shot", task.name)),
        chat_template=text(data.get("chat_template_sha")),
        usage=_usage(leaves),
        samples=stream(leaves, paired) if paired else None,
    )


def _check_run(data: Mapping[str, Any], task: HarnessTask, path: Path) -> None:
    """Refuse results of another task or another limit: they are an earlier run's."""
    if task.name not in (found := _part(data, "results")):
        msg = f"{path.name} holds results of {', '.join(map(str, found)) or 'nothing'}, not of {task.name}"
        raise ResultsError(msg, hint="a tag has no score of its own: name its tasks, or a group")
    limit = finite(_part(data, "config").get("limit"))
    wanted = task.params.limit_samples
    if limit != (None if wanted is None else float(wanted)):
        msg = f"{path.name} was made with limit {limit:g}" if limit else f"{path.name} was made without a limit"
        msg += f"; the spec says {wanted if wanted is not None else 'none'}"
        raise ResultsError(msg, hint="it is the result of another run")


def _leaf(data: Mapping[str, Any], name: str, path: Path) -> Leaf:
    """Look through one task's samples, which must be as many as lm-eval says it evaluated."""
    counts = _part(data, "n-samples", name)
    effective, original = whole(counts.get("effective")), whole(counts.get("original"))
    if effective is None or original is None:
        msg = f"{path.name} does not say how many items of {name} were evaluated"
        raise ResultsError(msg)
    samples = path.with_name(f"samples_{name}_{path.stem.removeprefix('results_')}.jsonl")
    if not samples.exists():
        msg = f"no {samples.name}: lm-eval could not save its samples"
        raise ResultsError(msg, hint="its disk may have been full; its log says why (`nel-action logs`)")
    return survey(samples, name, effective, original)


def _leaf_names(data: Mapping[str, Any], name: str) -> list[str]:
    """Return the tasks that a group comes down to, in the file's order; a task comes down to itself.

    A group that holds itself ends in a RecursionError, which the caller tells as a file of no known shape.
    """
    children: Mapping[str, Sequence[str]] = data.get("group_subtasks") or {}
    if name in _part(data, "n-samples"):
        return [name]
    return list(dict.fromkeys(leaf for child in children.get(name, ()) for leaf in _leaf_names(data, child)))


def _tallies(leaves: Sequence[Leaf]) -> dict[str, Tally]:
    """Add up what the tasks of a group have of each metric."""
    total: dict[str, Tally] = {}
    for leaf in leaves:
        for metric, tally in leaf.tallies.items():
            total[metric] = total.get(metric, Tally()) + tally
    return total


def _scores(
    data: Mapping[str, Any], task: HarnessTask, table: Mapping[str, Any], tallies: Mapping[str, Tally]
) -> list[Score]:
    directions = _maybe(data, "higher_is_better", task.name) or {}
    scores = []
    for metric, raw in table.items():
        name, comma, kind = metric.partition(",")
        if not comma or name.endswith("_stderr") or (value := finite(raw)) is None:
            continue
        stderr = finite(table.get(f"{name}_stderr,{kind}"))
        tally = tallies.get(metric)
        higher = directions.get(name)
        scores.append(
            Score(
                metric=metric,
                value=value,
                stderr=stderr if stderr is not None and stderr >= 0 else None,
                n=tally.items if tally else None,
                higher_is_better=higher if isinstance(higher, bool) else None,
            )
        )
    return scores


def _check_means(
    data: Mapping[str, Any], scores: Sequence[Score], leaves: Sequence[Leaf], tallies: Mapping[str, Tally]
) -> None:
    """Refuse a score that lm-eval says is the mean of samples, and is not."""
    if len(leaves) != 1:
        return
    config = _maybe(data, "configs", leaves[0].name) or {}
    means = {m.get("metric") for m in config.get("metric_list") or () if m.get("aggregation") == "mean"}
    for score in scores:
        tally = tallies.get(score.metric)
        if score.metric.partition(",")[0] in means and tally and tally.clean and not _is_mean(score, tally):
            msg = f"{score.metric} is {score.value:g} in the results, but {tally.mean:g} over the samples beside them"
            raise ResultsError(msg, hint="the files are not of one run; run the task again")


def _is_mean(score: Score, tally: Tally | None) -> bool:
    """Say whether a score is the plain mean over its samples; only then do pairs of samples speak about it."""
    if tally is None or not tally.clean or not tally.items:
        return False
    return abs(score.value - tally.mean) <= 1e-6 * max(1.0, abs(score.value))


def _expected(task: HarnessTask, leaves: Sequence[Leaf]) -> int | None:
    limit = task.params.limit_samples
    if len(leaves) == 1 or limit is None:
        return expected_items(task.expected_items, sum(leaf.original for leaf in leaves), limit)
    # NOTE: lm-eval applies a limit to each task of a group.
    return sum(limited(leaf.original, limit) for leaf in leaves)


def _version(data: Mapping[str, Any], name: str, leaves: Sequence[Leaf]) -> str | None:
    own = text(_maybe(data, "versions", name))
    below = sorted({text(_maybe(data, "versions", leaf.name)) or "?" for leaf in leaves if leaf.name != name})
    return own if not below else f"{own or '?'} of {', '.join(below)}"


def _hash(data: Mapping[str, Any], leaves: Sequence[Leaf]) -> str | None:
    hashes = {leaf.name: text(_maybe(data, "task_hashes", leaf.name)) for leaf in leaves}
    if None in hashes.values():
        return None
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _usage(leaves: Sequence[Leaf]) -> dict[str, float]:
    """Tell the share of empty answers; where all are, nothing was measured.

    lm-eval takes an answer that it cannot parse for an empty one, and scores it.
    """
    generated, empty = sum(leaf.generated for leaf in leaves), sum(leaf.empty for leaf in leaves)
    if generated and empty == generated:
        msg = f"all {empty} answers are empty: the endpoint gave no text"
        raise ResultsError(msg, hint="see the log for 'Could not parse generations', and check max_new_tokens")
    return {"empty_rate": empty / generated} if generated else {}


def _part(data: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """Return a part of the file that must be there."""
    part: Any = data
    for name in path:
        part = part.get(name) if isinstance(part, dict) else None
    if not isinstance(part, dict):
        msg = f"the results file has no {'.'.join(path)}"
        raise ResultsError(msg, hint="it was not written by `lm-eval run` 0.4.10 or later")
    return part


def _maybe(data: Mapping[str, Any], part: str, name: str) -> Any:  # noqa: ANN401 whatever stands there
    inner = data.get(part)
    return inner.get(name) if isinstance(inner, dict) else None
