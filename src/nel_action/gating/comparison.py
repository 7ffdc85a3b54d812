"""Limits on what is lost or gained against the baseline."""

from __future__ import annotations

from dataclasses import dataclass

from nel_action.errors import ResultsError
from nel_action.gating.compatibility import not_comparable
from nel_action.gating.differences import Gain, gain_from_pairs, gain_from_scores
from nel_action.gating.limit_check import Claim, Rule
from nel_action.gating.pairs import Pairs, pair
from nel_action.gating.result_set import ResultSet
from nel_action.gating.task_samples import Side, load_side
from nel_action.gating.validation import pick_score, what_is_missing
from nel_action.gating.verdict import Comparison
from nel_action.model.results import Interval, Score, TaskResult
from nel_action.spec.policy import Difference, Direction, TaskPolicy
from nel_action.statistics.distributions import normal_quantile
from nel_action.statistics.power import items_to_settle, minimum_detectable
from nel_action.statistics.relative import share_lost

__all__ = ["Against", "compare", "gain_claims"]


@dataclass(frozen=True, slots=True, eq=False)
class Against:
    """One task held against its baseline."""

    baseline: Side
    gain: Gain
    pairs: Pairs | None
    higher: bool
    """Whether more of the metric is better."""
    notes: tuple[str, ...] = ()

    def comparison(self, alpha: float, fail_alpha: float, margin: float | None) -> Comparison:
        """Return what a report shows.

        Args:
            alpha: chance of error of each bound of the interval.
            fail_alpha: what the correction over all claims leaves of it for a failure.
            margin: the loss that is allowed, if any is stated.
        """
        evidence, sign = self.gain.evidence, 1 if self.higher else -1
        ends = sorted((sign * evidence.low(alpha), sign * evidence.high(alpha)))
        n_worse, worse = self.pairs.flips(-sign) if self.pairs else (0, ())
        n_better, better = self.pairs.flips(sign) if self.pairs else (0, ())
        settle = None
        if margin is not None and self.gain.n:
            settle = items_to_settle(evidence, -margin, self.gain.n, fail_alpha=fail_alpha, pass_alpha=alpha)
        return Comparison(
            baseline=self.baseline.score.value,
            difference=sign * evidence.estimate,
            interval=Interval(low=ends[0], high=ends[1], level=1 - 2 * alpha, method=evidence.method),
            stderr=evidence.stderr,
            n_paired=self.gain.n,
            worse=worse,
            better=better,
            n_worse=n_worse,
            n_better=n_better,
            minimum_detectable=minimum_detectable(evidence, margin or 0.0, fail_alpha),
            items_to_settle=settle,
        )


def _higher_is_better(rules: TaskPolicy, ours: Score, theirs: Score) -> bool:
    """Say which way is better.

    Raises:
        ResultsError: nobody says.
    """
    if rules.direction is not None:
        return rules.direction is Direction.HIGHER
    said = {score.higher_is_better for score in (ours, theirs)} - {None}
    if len(said) != 1:
        msg = f"whether more or less of {ours.metric} is better is not {'agreed' if said else 'known'}; set direction"
        raise ResultsError(msg)
    return said == {True}


def compare(candidate: Side, rules: TaskPolicy, baseline: ResultSet, theirs: TaskResult) -> Against | list[str]:
    """Hold a task against its baseline.

    Args:
        candidate: the side that is judged.
        rules: what holds for the task.
        baseline: the whole run to compare with.
        theirs: its result of the same task.

    Returns:
        What was found, or why the two cannot be compared.

    Raises:
        ResultsError: items are not whole, do not pair, or lie outside their bounds.
    """
    refused, allowed = not_comparable(candidate.result, theirs, rules.allow)
    if refused:
        return refused
    if theirs.model != candidate.result.model:
        allowed.append(f"the model is called {candidate.result.model}, and {theirs.model} in the baseline")
    same_metric = rules.model_copy(update={"metric": candidate.score.metric, "min_items": None})
    if missing := what_is_missing(theirs, same_metric):
        return [f"in the baseline, {reason}" for reason in missing]
    score = pick_score(theirs, same_metric)
    if isinstance(score, str):
        return [f"in the baseline, {score}"]
    side = load_side(baseline, theirs, score)
    return _gain(candidate, side, rules, tuple(allowed) + side.notes)


def _gain(candidate: Side, baseline: Side, rules: TaskPolicy, notes: tuple[str, ...]) -> Against | list[str]:
    higher = _higher_is_better(rules, candidate.score, baseline.score)
    share = rules.max_relative_drop
    if share is not None and baseline.score.value <= 0:
        return [f"the baseline's score is {baseline.score.value:g}, of which no share can be lost"]
    if candidate.items is not None and baseline.items is not None and candidate.scale != baseline.scale:
        return ["its score is a percentage on one side and a share on the other"]
    if candidate.items is None or baseline.items is None:
        gain = gain_from_scores(candidate.measured, baseline.measured, higher=higher, share=share)
        return [gain] if isinstance(gain, str) else Against(baseline, gain, None, higher, notes + gain.notes)
    pairs = pair(candidate.items, baseline.items)
    if problems := _uneven(pairs, rules):
        return problems
    gain = gain_from_pairs(pairs, bounds=rules.bounds, higher=higher, scale=candidate.scale, share=share)
    return Against(baseline, gain, pairs, higher, notes + gain.notes)


def _uneven(pairs: Pairs, rules: TaskPolicy) -> list[str]:
    """Say which items are not on both sides, or were asked something else."""
    problems = []
    if rules.min_items is not None and len(pairs) < rules.min_items:
        problems.append(f"only {len(pairs):,} items are on both sides, fewer than the {rules.min_items:,} asked for")
    missing = {"this run": pairs.only_baseline, "the baseline": pairs.only_candidate}
    if Difference.ITEMS not in rules.allow:
        problems += [f"{count:,} items are missing from {where}" for where, count in missing.items() if count]
    if pairs.asked_otherwise and Difference.INPUTS not in rules.allow:
        problems.append(f"{pairs.asked_otherwise:,} items were asked otherwise; `allow: [inputs]` lets it pass")
    return problems


def gain_claims(found: Against, rules: TaskPolicy, alpha: float) -> tuple[list[Claim], list[str]]:
    """Return the claims that the limits against the baseline make, and why one cannot be tested."""
    evidence, n = found.gain.evidence, found.gain.n
    claims, problems = [], []
    if rules.max_drop is not None:
        claims.append(Claim(Rule.MAX_DROP, evidence, -rules.max_drop, rules.max_drop, alpha, n))
    if rules.min_gain is not None:
        claims.append(Claim(Rule.MIN_GAIN, evidence, rules.min_gain, rules.min_gain, alpha, n))
    if rules.max_relative_drop is not None:
        relative = found.gain.relative
        if relative is None:
            problems.append("its relative drop cannot be told from these scores")
        else:
            said = share_lost(relative.moments, normal_quantile(1 - alpha), higher=found.higher)
            rule = Rule.MAX_RELATIVE_DROP
            claims.append(Claim(rule, relative.evidence, relative.limit, relative.share, alpha, n, said))
    return claims, problems
