"""From results, a baseline and a policy to a report: the gate itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nel_action.errors import ExitCode, SpecError
from nel_action.gating.assess import Assessment, assess
from nel_action.gating.limit_check import Claim
from nel_action.gating.messages import claim_reason
from nel_action.gating.policy import check_policy, needs_baseline, task_policy
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, TaskVerdict, Verdict
from nel_action.model.results import Results, TaskResult
from nel_action.spec.policy import Correction, GatePolicy, OnInconclusive, Tier
from nel_action.statistics.multiplicity import holm
from nel_action.statistics.power import items_to_settle

__all__ = ["judge", "judge_runs"]

_WORST_FIRST = (Verdict.FAIL, Verdict.UNMEASURABLE, Verdict.INCONCLUSIVE, Verdict.PASS)


def judge(
    candidate: Results, *, policy: GatePolicy | None, baseline: ResultSet | None, root: Path, expected: Sequence[str]
) -> GateReport:
    """Judge results against a policy.

    Args:
        candidate: what came out.
        policy: what is allowed; None asks only that every task is there and measurable.
        baseline: what to compare with, from `baseline.load_baseline`; None where there is none.
        root: folder of the candidate's `results.json`, where its samples' paths start.
        expected: names of the tasks that the spec asks for; one that is not in `candidate` is unmeasurable.

    Returns:
        The verdict with its reasons; `exit_code` is what the command should end with.

    Raises:
        SpecError: the policy names a task that is not there, or limits nothing.
    """
    return judge_runs(
        ResultSet.from_results(candidate, root, name="this run"), policy=policy, baseline=baseline, expected=expected
    )


def judge_runs(
    candidate: ResultSet, *, policy: GatePolicy | None, baseline: ResultSet | None, expected: Sequence[str]
) -> GateReport:
    """Judge one run, wherever it comes from, as `judge` does."""
    if policy is not None and (problems := check_policy(policy, expected)):
        raise SpecError(problems)
    limited, policy = policy is not None, policy or GatePolicy()
    found = [
        assess(task, model, task_policy(policy, task), result, candidate=candidate, baseline=baseline)
        for task, model, result in _cells(candidate, expected)
    ]
    correction = _correct(policy, found)
    tasks = tuple(_task_verdict(one, correction, baseline, policy) for one in found)
    report = _whole(policy, found, tasks, baseline)
    notes = tuple(_about_baseline(candidate, baseline, expected, limited=limited)) if baseline else ()
    return report.model_copy(update={"notes": report.notes + notes})


def _cells(run: ResultSet, expected: Sequence[str]) -> Iterator[tuple[str, str, TaskResult | None]]:
    """Name every task on every model with its result: all that there are, and tasks without any."""
    for task in dict.fromkeys(expected):
        here = run.of_task(task)
        yield from ((task, result.model, result) for result in here)
        if not here:
            yield task, "", None


def _about_baseline(run: ResultSet, baseline: ResultSet, expected: Sequence[str], *, limited: bool) -> Iterator[str]:
    """Say what makes the comparison mean less than it seems to."""
    if not limited:
        yield "there is no policy: nothing that fell can fail this gate"
    if baseline.results.invocation == run.results.invocation and set(run.results.invocation) != {"0"}:
        yield "the baseline is this very run: nothing could have changed"
    for task in dict.fromkeys(expected):
        here, there = ({one.model for one in side.of_task(task)} for side in (run, baseline))
        if here and len(there) > len(here) and (gone := sorted(there - here)):
            yield f"{task}: the baseline also has {', '.join(gone)}, which this run lacks"


@dataclass(frozen=True, slots=True)
class _Correction:
    """What the correction over all claims came to."""

    fails: set[int]
    """Identities of the claims that fail."""
    family: int
    """Claims that could have failed the gate; 1 where nothing was corrected."""


def _correct(policy: GatePolicy, found: Sequence[Assessment]) -> _Correction:
    """Decide which claims fail; advisory ones are tested by themselves, for they decide nothing."""
    tested = [(one, claim) for one in found for claim in one.claims if not claim.point]
    corrected = policy.correction is Correction.HOLM
    deciding = [claim for one, claim in tested if corrected and one.rules.tier is not Tier.ADVISORY]
    alone = [claim for one, claim in tested if not corrected or one.rules.tier is Tier.ADVISORY]
    fails = holm([claim.fail_p for claim in deciding], [claim.alpha for claim in deciding])
    failing = [claim for claim, fail in zip(deciding, fails, strict=True) if fail]
    failing += [claim for claim in alone if claim.fail_p <= claim.alpha]
    return _Correction({id(claim) for claim in failing}, max(1, len(deciding)))


def _task_verdict(
    found: Assessment, correction: _Correction, baseline: ResultSet | None, policy: GatePolicy
) -> TaskVerdict:
    reasons: dict[Verdict, list[str]] = {
        Verdict.FAIL: list(found.breaches),
        Verdict.UNMEASURABLE: list(found.unmeasurable),
    }
    failed = ["limits"] if found.breaches else []
    if not found.unmeasurable and baseline is None and needs_baseline(found.rules):
        missing = Verdict.FAIL if policy.on_missing_baseline == "fail" else Verdict.PASS
        reasons.setdefault(missing, []).append("no baseline to compare with")
        failed += ["baseline"] if missing is Verdict.FAIL else []
    fail_alpha = found.alpha / correction.family
    for claim in found.claims:
        verdict = claim.judge(fails=id(claim) in correction.fails)
        failed += [claim.rule.value] if verdict is Verdict.FAIL else []
        reason = claim_reason(claim, verdict, found.unit, _settle(claim, verdict, fail_alpha))
        reasons.setdefault(verdict, []).append(reason)
    verdict = next((one for one in _WORST_FIRST if reasons.get(one)), Verdict.PASS)
    said = [reason for one in _WORST_FIRST for reason in reasons.get(one, [])]
    rules, score = found.rules, found.score
    return TaskVerdict(
        task=found.task,
        model=found.model,
        metric=score.metric if score else rules.metric,
        tier=rules.tier,
        verdict=verdict,
        reasons=tuple(said or ["measured; the policy sets no limit"]),
        failed=tuple(failed),
        score=score.value if score else None,
        stderr=score.stderr if score else None,
        n=found.n,
        interval=found.interval,
        floor=rules.min if rules.min is not None else rules.max,
        margin=rules.max_drop,
        higher_is_better=found.higher,
        comparison=found.against.comparison(found.alpha, fail_alpha, rules.max_drop) if found.against else None,
    )


def _settle(claim: Claim, verdict: Verdict, fail_alpha: float) -> int | None:
    if verdict is not Verdict.INCONCLUSIVE or not claim.n:
        return None
    return items_to_settle(claim.evidence, claim.limit, claim.n, fail_alpha=fail_alpha, pass_alpha=claim.alpha)


def _whole(
    policy: GatePolicy, found: Sequence[Assessment], tasks: Sequence[TaskVerdict], baseline: ResultSet | None
) -> GateReport:
    verdict, code = _decide(policy, tasks, found)
    notes = [f"{one.task}: {note}" for one in found for note in one.notes]
    if baseline is None and any(needs_baseline(one.rules) for one in found):
        notes.append(f"there is no baseline; the policy lets that {policy.on_missing_baseline}")
    return GateReport(
        verdict=verdict,
        exit_code=int(code),
        reasons=_reasons(tasks, verdict),
        tasks=tuple(tasks),
        baseline=baseline.name if baseline else None,
        confidence=policy.confidence,
        correction=policy.correction.value,
        notes=tuple(notes),
    )


def _decide(policy: GatePolicy, tasks: Sequence[TaskVerdict], found: Sequence[Assessment]) -> tuple[Verdict, ExitCode]:
    """Make one verdict of many: a measured failure of a critical task, what cannot be measured, any failure."""
    deciding = [(task, one) for task, one in zip(tasks, found, strict=True) if task.tier is not Tier.ADVISORY]
    verdicts = {task.verdict for task, _ in deciding}
    if any(task.verdict is Verdict.FAIL and task.tier is Tier.CRITICAL for task, _ in deciding):
        return Verdict.FAIL, ExitCode.FAIL
    if Verdict.UNMEASURABLE in verdicts or not tasks:
        return Verdict.UNMEASURABLE, ExitCode.UNMEASURABLE
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL, ExitCode.FAIL
    if Verdict.INCONCLUSIVE in verdicts:
        unsettled = {one.rules.on_inconclusive for task, one in deciding if task.verdict is Verdict.INCONCLUSIVE}
        return Verdict.INCONCLUSIVE, _unsettled_code(policy, unsettled)
    return Verdict.PASS, ExitCode.PASS


def _unsettled_code(policy: GatePolicy, asked: set[OnInconclusive | None]) -> ExitCode:
    """Return the exit code of the strictest of the unsettled tasks' rules."""
    rules = {rule or policy.on_inconclusive for rule in asked}
    if OnInconclusive.FAIL in rules:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if OnInconclusive.WARN in rules else ExitCode.PASS


def _reasons(tasks: Sequence[TaskVerdict], verdict: Verdict) -> tuple[str, ...]:
    """Return the first reason of every task that kept the verdict from being a pass, the deciding ones first."""
    if not tasks:
        return ("no task was judged",)
    against = [task for task in tasks if task.tier is not Tier.ADVISORY and task.verdict is not Verdict.PASS]
    against.sort(key=lambda task: (task.verdict is not verdict, task.tier is not Tier.CRITICAL))
    return tuple(f"{task.task}: {task.reasons[0]}" for task in against)
