"""All texts of the gate: the reasons and notes of verdicts, with figures formatted for people.

Texts are single lines without a full stop. The texts of the limits are in their table (`spec.limits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from nel_action.formats.parsing import matching_metrics
from nel_action.formatting import Unit, age, approximate_count, count, duration, percentage, plural
from nel_action.gating.verdict import BaselineFacts, LimitTest, Verdict
from nel_action.model.results import Health, JobOutcome, Score, TaskResult
from nel_action.spec.limits import Limit, LimitUnit, Rule
from nel_action.spec.policy import Confirm, Difference, Direction
from nel_action.statistics.estimates import MIN_UNBOUNDED, Obstacle, obstacle
from nel_action.statistics.items import ItemRange
from nel_action.statistics.relative import RelativeLoss

_OUTCOMES: Final = {
    JobOutcome.FAILED: "the job failed",
    JobOutcome.CANCELLED: "the job was cancelled",
    JobOutcome.UNKNOWN: "the state of the job is unknown",
    JobOutcome.RUNNING: "the job is still running",
}
_DIFFERENCES: Final = {
    Difference.HARNESS: "the harness",
    Difference.HARNESS_VERSION: "the version of the harness",
    Difference.TASK_VERSION: "the version of the task",
    Difference.TASK_HASH: "the prompt or the task",
    Difference.N_SHOT: "the number of few-shot examples",
    Difference.CHAT_TEMPLATE: "the chat template",
    Difference.ITEMS: "the number of items",
    Difference.LIMIT: "limit_samples",
}
_OBSTACLES: Final = {
    Obstacle.UNKNOWN_COUNT: "the number of items is unknown, and no bound holds without it; report it or write samples",
    Obstacle.FEW_UNBOUNDED: f"without a known range of its items, at least {MIN_UNBOUNDED} are needed; state `bounds`",
}
_MOST_NAMES: Final = 8
_LONGEST_VALUE: Final = 40
_UNCHANGED: Final = 1e-9
"""Changes below this are rounding errors."""

NO_RESULT: Final = "there is no result"
NO_SCORE: Final = "there is no score: the results have no finite value"
NO_ITEMS: Final = "no items were evaluated"
UNKNOWN_ITEM_COUNT: Final = "the number of evaluated items is unknown"
NO_COMMON_ITEMS: Final = "no item id is in both runs"
ONE_CLUSTER: Final = "all items are in one cluster; a standard error needs at least two"
MIXED_SCALES: Final = "the score is a percentage in one run and a fraction in the other"
DUPLICATE_RESULTS: Final = "several results have the same task and model; give each model a unique name"
NO_RELATIVE_CHANGE: Final = "the relative change cannot be estimated from these scores"
UNPAIRED: Final = "the items could not be paired; comparing two scores has less power"
NO_LIMIT: Final = "measured; the policy states no limit for this task"
NO_TASK: Final = "no task was judged"
NO_BASELINE: Final = "there is no baseline"
NO_POLICY: Final = "there is no policy: a lower score cannot fail this gate"
OWN_BASELINE: Final = "the baseline is the judged run itself: no change is possible"
ALL_ADVISORY: Final = "every task is advisory: no result can fail this gate"


def unknown_metric(metric: str | None, result: TaskResult) -> str:
    """Return that the judged metric is not among the scores, with the nearest names."""
    names = result.metrics
    listed = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    if metric is None:
        return f"the primary metric is unknown; set metric to one of {listed}"
    # NOTE: harnesses append filters; a name without its filter is accepted only if a single metric has it.
    if matches := matching_metrics(metric, names):
        return f"metric {metric!r} is ambiguous; set metric to one of {', '.join(matches)}"
    near = [name for name in names if name.startswith(metric) or metric.startswith(name)]
    near += [name for name in get_close_matches(metric, names, n=3, cutoff=0.5) if name not in near]
    return f"there is no metric {metric!r}; " + (f"nearest: {', '.join(near)}" if near else f"available: {listed}")


def score_without_value(metric: str) -> str:
    """Return that the judged metric has no finite value."""
    return f"{metric} has no finite value; no other metric replaces it"


def differing_primary_metrics(baseline: str, candidate: str) -> str:
    """Return that the default metric is not the same in both runs."""
    return f"the primary metric is {baseline} in the baseline and {candidate} now; set metric"


def job_outcome(result: TaskResult) -> str:
    """Return the outcome of a job without results."""
    detail = result.detail or result.reason
    return _OUTCOMES[result.outcome] + (f": {detail}" if detail else "")


def unreadable_results(result: TaskResult) -> str:
    """Return that the results of a job could not be read."""
    return f"its results could not be read: {result.detail or result.reason}"


def missing_items(n: int, expected: int) -> str:
    """Return that fewer items were evaluated than the task has."""
    return f"only {count(n)} of {plural(expected, 'item')} were evaluated"


def partial_score(score: Score, n: int) -> str:
    """Return that a score was computed from a part of the evaluated items."""
    return f"{score.metric} was computed from only {count(score.n or 0)} of {plural(n, 'item')}"


def more_items_than_evaluated(score: Score, n: int) -> str:
    """Return that a score claims more items than were evaluated."""
    return f"{score.metric} claims {count(score.n or 0)} items, but the task evaluated {plural(n, 'item')}"


def too_few_items(n: int, limit: float, *, paired: bool = False) -> str:
    """Return that `min_items` is not reached.

    Args:
        n: number of items.
        limit: value of `min_items`.
        paired: the items are those in both runs.
    """
    return f"only {plural(n, 'item')} {'are in both runs' if paired else 'were evaluated'}; min_items is {count(limit)}"


def difference(name: Difference, candidate: object, baseline: object) -> str:
    """Return how two results of a task differ.

    Args:
        name: the kind of difference.
        candidate: value in the candidate; None if unknown.
        baseline: value in the baseline; None if unknown.
    """
    unknown = "none" if name is Difference.LIMIT else "unknown"
    before, after = (_shorten(unknown if value is None else str(value)) for value in (baseline, candidate))
    return f"{_DIFFERENCES[name]} differs: {before} in the baseline, {after} now"


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "…"


def accepted(text: str) -> str:
    """Return a difference that the policy allows, as a note."""
    return f"{text} (allowed)"


def refused(text: str, name: Difference) -> str:
    """Return a difference that the policy does not allow, with the way to allow it."""
    return f"{text}; add `allow: [{name}]` to accept this"


def items_missing(missing: int, run: str) -> str:
    """Return that one of the two runs lacks items."""
    return refused(f"{plural(missing, 'item')} of the other run {_are(missing)} missing from {run}", Difference.ITEMS)


def inputs_changed(changed: int) -> str:
    """Return that items have other prompts than in the baseline."""
    return refused(f"{plural(changed, 'item')} {_have(changed)} another prompt than in the baseline", Difference.INPUTS)


def _are(number_of: int) -> str:
    return "is" if number_of == 1 else "are"


def _have(number_of: int) -> str:
    return "has" if number_of == 1 else "have"


def model_renamed(candidate: str, baseline: str) -> str:
    """Return that the two runs name their only model differently."""
    return f"the model is named {candidate}, and {baseline} in the baseline"


def no_counterpart(model: str | None) -> str:
    """Return that the baseline lacks the task, or the task on one model."""
    return "the baseline has no result of this task" + (f" on {model}" if model else "")


def in_baseline(reason: str) -> str:
    """Return a reason that concerns the baseline."""
    return f"in the baseline: {reason}"


def unknown_direction(metric: str, *, disagreement: bool) -> str:
    """Return that the better direction of a metric is not known."""
    problem = "differs between the two runs" if disagreement else "is unknown"
    return f"whether larger values of {metric} are better {problem}; set direction"


def contradictory_direction(metric: str, stated: Direction) -> str:
    """Return that the policy contradicts the harness about which values of a metric are better."""
    other = Direction.LOWER if stated is Direction.HIGHER else Direction.HIGHER
    return f"direction is {stated}, but the harness reports {other} for {metric}; remove direction or set metric"


def assumed_range(metric: str, *, bounded: bool) -> str:
    """Return what a bound of a score without items assumes, as a note."""
    if bounded:
        return f"{metric} has no items; they are taken to be between 0 and 1; `bounds` states another range"
    return f"{metric} has no items and no known range; its mean is taken to be normal; `bounds` states a range"


def undefined_relative_drop(baseline: float) -> str:
    """Return that a relative drop needs a positive baseline."""
    return f"a relative drop is undefined: the baseline's score is {baseline:g} and must be positive"


def item_out_of_bounds(value: float, bounds: tuple[float, float]) -> str:
    """Return that an item contradicts the stated bounds."""
    return f"an item has the score {value:g}, outside the stated bounds {bounds[0]:g} to {bounds[1]:g}"


def score_out_of_bounds(value: float, bounds: tuple[float, float]) -> str:
    """Return that a score without items contradicts the stated bounds."""
    return f"the score is {value:g}, outside the stated bounds {bounds[0]:g} to {bounds[1]:g}; correct `bounds`"


def observed_range(item_range: ItemRange) -> str:
    """Return that the range of an item is known from the samples only."""
    low, high = item_range.low, item_range.high
    return f"the range of an item's score is unknown; the observed {low:g} to {high:g} is used; `bounds` states another"


def incomplete_samples(n: int, expected: int) -> str:
    """Return that a samples file lacks items."""
    return f"the samples file has only {count(n)} of {plural(expected, 'item')}"


def not_mean_of_items(metric: str) -> str:
    """Return that the items of a score cannot be used."""
    return f"{metric} is not the mean of its items; its standard error is used instead"


def contradiction(score: Score, mean: float, n: int) -> str:
    """Return that a score cannot be the average of its items.

    Args:
        score: the score.
        mean: mean of the items.
        n: number of items.
    """
    items = plural(n, "item")
    return f"{score.metric} is {score.value:g}, but {mean:g} over its {items}; the files belong to different runs"


def one_sided_contradiction(score: Score, run: str) -> str:
    """Return that a score is the mean of its items in one run only.

    Args:
        score: the score that is not the mean of its items.
        run: the run that it belongs to.
    """
    return f"{score.metric} of {run} is not the mean of its items, but that of the other run is; run the task again"


def items_without_value(score: Score, n: int | None) -> str:
    """Return that the harness excludes items from a metric, as a note."""
    of = "" if n is None else f" of {count(n)}"
    return f"{score.metric} excludes {count(score.excluded)}{of} items that have no value of it"


NO_FINGERPRINT: Final = (
    "the baseline has no fingerprint of the benchmark (another tool or an older version); harness, task version, "
    "prompts and item count were compared instead"
)


def benchmark_changed(name: str) -> str:
    """Return that a key or file of the benchmark differs from the baseline."""
    key, _, file = name.partition(":")
    subject = f"{file} ({key})" if file else key
    return f"the benchmark differs from the baseline in {subject}; add the key to `gate.allow` to accept this"


def too_large(metric: str, value: float, largest: float) -> str:
    """Return that a score or an item is outside the range that can be judged.

    Args:
        metric: name of the metric.
        value: the score or item.
        largest: largest magnitude that can be judged.
    """
    return f"{metric}: the value {value:g} exceeds ±{largest:g}, the range that can be judged; correct the metric"


def one_item(metric: str) -> str:
    """Return that two scores cannot be compared because one of them is that of a single item."""
    return f"{metric}: a score of one item has no standard error; evaluate more items, or write samples"


def not_computable(score: Score) -> str:
    """Return that the statistics of a score exceed the range of floating-point numbers."""
    return f"{score.metric}: the statistics of the score {score.value:g} are not finite; state `bounds` for the metric"


def no_standard_error(metric: str, *, run: str | None = None) -> str:
    """Return that a score has no known error.

    Args:
        metric: name of the score.
        run: the run it belongs to, if two were to be compared.
    """
    if run is None:
        return f"{metric} has no standard error, and no items to compute one from"
    return f"{metric} of {run} has no standard error, and there are no items to pair"


def point_only(reason: str, limit: Limit) -> str:
    """Return that a limit on the score can be tested without a standard error only."""
    return f"{reason}; only `floor: point` can test {limit.key}"


def unreported_usage(limit: Limit) -> str:
    """Return that a limited quantity is not reported."""
    if limit.rule is Rule.HEALTH:
        return f"{limit.key} has a limit, but the answers were not measured: the gateway was off or saw no request"
    return f"{limit.key} has a limit, but the harness does not report it"


def unanswered(health: Health, tolerated: float) -> str:
    """Return that too many requests have no answer, so that the score measures the endpoint and not the model."""
    figures = f"{count(health.unanswered)} of {plural(health.requests, 'request')}"
    limit = f"{percentage(health.share('unanswered'))}, more than {percentage(tolerated)}"
    return f"{figures} were not answered ({limit}); run it again, or state limits.unanswered"


def usage_reason(limit: Limit, stated: float, value: float) -> str:
    """Return that a reported quantity exceeds its limit.

    Args:
        limit: row of the limit.
        stated: value of the limit in the policy.
        value: reported quantity.
    """
    return limit.failed.format(key=limit.key, value=_usage(limit, value), limit=_usage(limit, stated))


def _usage(limit: Limit, value: float) -> str:
    match limit.unit:
        case LimitUnit.FRACTION:
            return percentage(value)
        case LimitUnit.TOKENS:
            return f"{count(value)} tokens"
        case LimitUnit.SECONDS:
            return duration(value) if value >= 60 else f"{value:g} s"  # noqa: PLR2004 - a minute
        case _:
            return f"{value:g} {limit.unit}"


def limit_reason(test: LimitTest, verdict: Verdict, unit: Unit, *, higher: bool, to_settle: int | None) -> str:
    """Return the outcome of a tested limit, from the texts of its row.

    Placeholders of those texts: `{score}` and `{limit}` in the unit of the metric, `{change}` and `{relative_change}`
    as a clause ("fell 5.3 pp"), `{confidence}` as a suffix, empty for a test by the estimate alone.

    Args:
        test: the limit with its evidence.
        verdict: outcome of the test.
        unit: unit of the metric.
        higher: whether larger values of the metric are better.
        to_settle: number of items that would decide an inconclusive test; None if unattainable or unknown.
    """
    limit = test.limit
    templates = {Verdict.FAIL: limit.failed, Verdict.PASS: limit.passed, Verdict.INCONCLUSIVE: limit.inconclusive}
    score, stated = unit.score(test.value), limit_value(limit, test.stated, unit)
    text = templates[verdict].format(
        # NOTE: a score that rounds to its limit is shown with all decimals: 79.96 %, not 80.0 %.
        score=unit.limit(test.value) if score == stated else score,
        limit=stated,
        change=_change(test.value, unit, higher=higher),
        relative_change=_relative_change(test.relative_loss) if test.relative_loss else "",
        confidence="" if test.point else f" at {percentage(1 - test.alpha)} confidence",
    )
    if verdict is Verdict.INCONCLUSIVE and (reason := obstacle(test.evidence)) is not None:
        return f"{text}; {_OBSTACLES[reason]}"
    if verdict is not Verdict.INCONCLUSIVE or not test.n:
        return text
    if to_settle is None:
        return f"{text}; the estimate is too close to the limit for any number of items"
    return f"{text}; {approximate_count(to_settle)} items would settle it"


def limit_value(limit: Limit, stated: float, unit: Unit) -> str:
    """Return a stated limit in the unit of its metric.

    Args:
        limit: row of the limit.
        stated: value of the limit in the policy.
        unit: unit of the metric.
    """
    match limit.unit:
        case LimitUnit.SCORE:
            return unit.limit(stated)
        case LimitUnit.CHANGE:
            return unit.amount(stated)
        case _:
            return percentage(stated)


def _change(gain: float, unit: Unit, *, higher: bool) -> str:
    """Return the change of the score as a clause; `gain` is positive if it improved."""
    if abs(gain) < _UNCHANGED:
        return "did not change"
    if higher:
        return f"{'rose' if gain > 0 else 'fell'} {unit.amount(gain)}"
    return f"{'improved' if gain > 0 else 'got worse'} by {unit.amount(gain)}"


def _relative_change(loss: RelativeLoss) -> str:
    text = f"{'lost' if loss.estimate >= 0 else 'gained'} {percentage(abs(loss.estimate), 1)} of the baseline"
    if loss.interval is None:
        return text
    low, high = (percentage(end, 1) for end in loss.interval)
    return f"{text} (interval of the loss: {low} to {high})"


def missing_baseline(effect: str) -> str:
    """Return the effect of `on_missing_baseline` as a note."""
    return f"there is no baseline yet; on_missing_baseline is `{effect}`"


def baseline_too_old(facts: BaselineFacts, max_age: str | None) -> str:
    """Return that the baseline is older than the policy allows, or that its age is unknown."""
    known = facts.age_seconds is not None
    problem = f"is {age(facts.age_seconds)} old, more than" if known else "has an unknown age, and is limited to"
    return f"the baseline {problem} gate.max_age: {max_age}; run the gate on the baseline's branch to renew it"


def baseline_summary(name: str, facts: BaselineFacts | None) -> str:
    """Return the baseline's name with its commit and its age: `main a1b2c3d (commit a1b2c3d4e5f6, 12 days old)`."""
    if facts is None:
        return name
    commit = f"commit {facts.commit[:12]}" if facts.commit else "unknown commit"
    known = f"{age(facts.age_seconds)} old" if facts.age_seconds is not None else "unknown age"
    return f"{name} ({commit}, {known})"


def models_missing(task: str, models: Sequence[str]) -> str:
    """Return that the baseline has more models of a task than the run."""
    return f"{task}: the baseline also has results of {', '.join(models)}, which this run lacks"


def of_task(task: str, text: str) -> str:
    """Return a reason or note with the name of its task."""
    return f"{task}: {text}"


def too_many_to_confirm(failing: int, rule: Confirm) -> str:
    """Return that too many tasks failed for a confirmation."""
    return f"{failing} tasks failed; confirm.max_tasks is {rule.max_tasks}"


def too_long_to_confirm(seconds: float, rule: Confirm) -> str:
    """Return that a confirmation would take too long."""
    return f"the failing tasks took {seconds:.0f} s; confirm.max_seconds is {rule.max_seconds:g}"


def not_confirmed(reason: str | None) -> str:
    """Return why no second run was made, as a note."""
    return f"{reason or 'the failing tasks were not run a second time'}; the first run decides"


def confirmation_note(task: str, seed: int, *, merged: bool, failure: str | None) -> str:
    """Return the effect of a second run, as a note.

    Args:
        task: name of the task.
        seed: seed of the second run.
        merged: both runs were judged together.
        failure: why the second run has no result; None if it succeeded.
    """
    if merged:
        return f"{task} failed and was run a second time with seed {seed}; both runs are judged together"
    outcome = failure or "has other items or metrics than the first one"
    return f"{task} failed; the second run, with seed {seed}, {outcome}; the first run decides"
