"""The gate: a report from results, a baseline and a policy."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nel_action.errors import ExitCode, SpecError
from nel_action.gating import messages
from nel_action.gating.assess import Assessment, assess
from nel_action.gating.baseline import age_of
from nel_action.gating.policy import check_policy, task_policy
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import BaselineFacts, GateReport, LimitTest, TaskVerdict, Verdict
from nel_action.model.results import Results, TaskResult
from nel_action.spec.policy import Correction, GatePolicy, OnInconclusive, Tier
from nel_action.statistics.estimates import obstacle
from nel_action.statistics.multiplicity import holm
from nel_action.statistics.power import items_to_settle

__all__ = ["judge", "judge_result_set"]

logger = logging.getLogger(__name__)

_BY_SEVERITY: Final = (Verdict.FAIL, Verdict.UNMEASURABLE, Verdict.INCONCLUSIVE, Verdict.PASS)


def judge(
    candidate: Results,
    *,
    policy: GatePolicy | None,
    baseline: ResultSet | None,
    root: Path,
    expected: Sequence[str],
    blocked: Sequence[tuple[str, str]] = (),
    compared: str | None = None,
) -> GateReport:
    """Judge the results of an invocation by a policy.

    Args:
        candidate: content of `results.json`.
        policy: the limits; without a policy, every task must be measurable.
        baseline: the run to compare with, if there is one.
        root: directory of the candidate's `results.json`.
        expected: names of the tasks in the spec; one without a result is unmeasurable.
        blocked: task and reason why it is unmeasurable, whatever its scores are; an empty name denotes all tasks.
        compared: when the baseline was resolved, for its age; RFC 3339, now by default.

    Raises:
        SpecError: the policy names an unknown task, or states no limit.
    """
    result_set = ResultSet.from_results(candidate, root, name="this run")
    return judge_result_set(
        result_set, policy=policy, baseline=baseline, expected=expected, blocked=blocked, compared=compared
    )


def judge_result_set(
    candidate: ResultSet,
    *,
    policy: GatePolicy | None,
    baseline: ResultSet | None,
    expected: Sequence[str],
    blocked: Sequence[tuple[str, str]] = (),
    compared: str | None = None,
) -> GateReport:
    """Judge a run of any file format by a policy.

    Args:
        candidate: the judged run.
        policy: the limits; without a policy, every task must be measurable.
        baseline: the run to compare with, if there is one.
        expected: names of the tasks; one without a result is unmeasurable.
        blocked: task and reason why it is unmeasurable, whatever its scores are; an empty name denotes all tasks.
        compared: when the baseline was resolved, for its age; RFC 3339, now by default.

    Raises:
        SpecError: the policy names an unknown task, or states no limit.
    """
    if policy is not None and (problems := check_policy(policy, expected)):
        raise SpecError(problems)
    has_policy, policy = policy is not None, policy or GatePolicy()
    candidate, baseline = candidate.with_tasks(expected), baseline.with_tasks(expected) if baseline else None
    assessments = [
        assess(
            task,
            model,
            task_policy(policy, task),
            result,
            candidate=candidate,
            baseline=baseline,
            allowed_keys=policy.allow,
        )
        for task, model, result in _expected_results(candidate, expected)
    ]
    facts = _baseline_facts(baseline, compared) if baseline is not None else None
    too_old = messages.baseline_too_old(facts, policy.max_age) if facts and _is_too_old(facts, policy) else None
    for assessment in assessments:
        _block(assessment, [reason for task, reason in blocked if task in {"", assessment.task}])
        if too_old is not None and assessment.policy.needs_baseline:
            _block(assessment, [too_old])
    correction = _correct(policy, assessments)
    has_baseline = baseline is not None
    tasks = tuple(_judge_task(assessment, correction, policy, has_baseline=has_baseline) for assessment in assessments)
    verdict, code = _decide(policy, tasks, assessments)
    notes = [messages.of_task(assessment.task, note) for assessment in assessments for note in assessment.notes]
    if baseline is None and any(assessment.policy.needs_baseline for assessment in assessments):
        notes.append(messages.missing_baseline(policy.on_missing_baseline))
    if tasks and all(task.tier is Tier.ADVISORY for task in tasks):
        notes.append(messages.ALL_ADVISORY)
    if baseline is not None:
        notes += _baseline_notes(candidate, baseline, expected, has_policy=has_policy)
    return GateReport(
        verdict=verdict,
        exit_code=int(code),
        reasons=_reasons(tasks, verdict),
        tasks=tasks,
        baseline=baseline.name if baseline else None,
        baseline_facts=facts,
        confidence=policy.confidence,
        correction=policy.correction.value,
        notes=tuple(notes),
    )


def _baseline_facts(baseline: ResultSet, compared: str | None) -> BaselineFacts:
    results = baseline.results
    return BaselineFacts(
        commit=results.commit,
        created=results.created or None,
        digest=baseline.digest,
        age_seconds=age_of(results.created, compared),
    )


def _is_too_old(facts: BaselineFacts, policy: GatePolicy) -> bool:
    """Return whether the policy limits the age, and it is larger or unknown."""
    limit = policy.max_age_seconds
    return limit is not None and (facts.age_seconds is None or facts.age_seconds > limit)


def _block(assessment: Assessment, reasons: Sequence[str]) -> None:
    """Make a task unmeasurable: its scores are shown, and none of its limits is tested."""
    if reasons:
        assessment.unmeasurable[:0] = reasons
        assessment.tests.clear()
        assessment.violated.clear()


def _expected_results(run: ResultSet, expected: Sequence[str]) -> Iterator[tuple[str, str, TaskResult | None]]:
    """Yield each expected task with each of its models and results; None for a task without a result."""
    for task in dict.fromkeys(expected):
        results = run.of_task(task)
        yield from ((task, result.model, result) for result in results)
        if not results:
            yield task, "", None


def _baseline_notes(run: ResultSet, baseline: ResultSet, expected: Sequence[str], *, has_policy: bool) -> Iterator[str]:
    """Yield circumstances that weaken the comparison."""
    if not has_policy:
        yield messages.NO_POLICY
    if baseline.results.invocation == run.results.invocation and set(run.results.invocation) != {"0"}:
        yield messages.OWN_BASELINE
    for task in dict.fromkeys(expected):
        models, baseline_models = ({result.model for result in side.of_task(task)} for side in (run, baseline))
        missing = sorted(baseline_models - models)
        if models and len(baseline_models) > len(models) and missing:
            yield messages.models_missing(task, missing)


@dataclass(frozen=True, slots=True)
class _Correction:
    """Outcome of the correction for multiplicity."""

    rejected: frozenset[int]
    """Identities of the tests that fail."""
    family_size: int
    """Number of tests that could have failed the gate; 1 without correction."""

    def rejects(self, test: LimitTest) -> bool:
        """Return whether a test fails after the correction."""
        return id(test) in self.rejected


def _correct(policy: GatePolicy, assessments: Sequence[Assessment]) -> _Correction:
    """Decide which tests fail; those of advisory tasks do not affect the gate and are not corrected."""
    family: list[LimitTest] = []
    single: list[LimitTest] = []
    for assessment in assessments:
        is_corrected = policy.correction is Correction.HOLM and assessment.policy.tier is not Tier.ADVISORY
        (family if is_corrected else single).extend(test for test in assessment.tests if not test.point)
    rejected = holm([test.fail_p_value for test in family], [test.alpha for test in family])
    failing = [test for test, is_rejected in zip(family, rejected, strict=True) if is_rejected]
    failing += [test for test in single if test.fail_p_value <= test.alpha]
    return _Correction(frozenset(id(test) for test in failing), max(1, len(family)))


def _judge_task(
    assessment: Assessment, correction: _Correction, policy: GatePolicy, *, has_baseline: bool
) -> TaskVerdict:
    """Return the verdict of a task: the most severe one of its limits."""
    reasons: dict[Verdict, list[str]] = {
        Verdict.FAIL: list(assessment.violated),
        Verdict.UNMEASURABLE: list(assessment.unmeasurable),
    }
    failed = ["limits"] if assessment.violated else []
    if not assessment.unmeasurable and not has_baseline and assessment.policy.needs_baseline:
        effect = Verdict.FAIL if policy.on_missing_baseline == "fail" else Verdict.PASS
        reasons.setdefault(effect, []).append(messages.NO_BASELINE)
        failed += ["baseline"] if effect is Verdict.FAIL else []
    fail_alpha = assessment.alpha / correction.family_size
    for test in assessment.tests:
        verdict = test.verdict(rejected=correction.rejects(test))
        logger.debug("%s: %s: %s by %s", assessment.task, test.limit.key, verdict, test.evidence.method)
        failed += [test.limit.key] if verdict is Verdict.FAIL else []
        reason = messages.limit_reason(
            test,
            verdict,
            assessment.unit,
            higher=assessment.higher_is_better is not False,
            to_settle=_items_to_settle(test, verdict, fail_alpha),
        )
        reasons.setdefault(verdict, []).append(reason)
    verdict = next((severity for severity in _BY_SEVERITY if reasons.get(severity)), Verdict.PASS)
    ordered = [reason for severity in _BY_SEVERITY for reason in reasons.get(severity, [])]
    limits, score, comparison = assessment.policy, assessment.score, assessment.comparison
    return TaskVerdict(
        task=assessment.task,
        model=assessment.model,
        metric=score.metric if score else limits.metric,
        tier=limits.tier,
        verdict=verdict,
        reasons=tuple(ordered or [messages.NO_LIMIT]),
        failed=tuple(failed),
        score=score.value if score else None,
        stderr=score.stderr if score else None,
        n=assessment.n,
        interval=assessment.interval,
        floor=limits.min if limits.min is not None else limits.max,
        margin=limits.max_drop,
        higher_is_better=assessment.higher_is_better,
        comparison=comparison.to_report(assessment.alpha, fail_alpha, limits.max_drop) if comparison else None,
    )


def _items_to_settle(test: LimitTest, verdict: Verdict, fail_alpha: float) -> int | None:
    if verdict is not Verdict.INCONCLUSIVE or not test.n or obstacle(test.evidence) is not None:
        return None
    return items_to_settle(test.evidence, test.threshold, test.n, fail_alpha=fail_alpha, pass_alpha=test.alpha)


def _decide(
    policy: GatePolicy, tasks: Sequence[TaskVerdict], assessments: Sequence[Assessment]
) -> tuple[Verdict, ExitCode]:
    """Return the verdict of the gate and its exit code.

    In this order: a failing critical task, an unmeasurable task, a failing task, an inconclusive task, a pass.
    """
    deciding = [task for task in tasks if task.tier is not Tier.ADVISORY]
    verdicts = {task.verdict for task in deciding}
    if any(task.verdict is Verdict.FAIL and task.tier is Tier.CRITICAL for task in deciding):
        return Verdict.FAIL, ExitCode.FAIL
    if Verdict.UNMEASURABLE in verdicts or not tasks:
        return Verdict.UNMEASURABLE, ExitCode.UNMEASURABLE
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL, ExitCode.FAIL
    if Verdict.INCONCLUSIVE in verdicts:
        effects = {
            assessment.policy.on_inconclusive or policy.on_inconclusive
            for task, assessment in zip(tasks, assessments, strict=True)
            if task.tier is not Tier.ADVISORY and task.verdict is Verdict.INCONCLUSIVE
        }
        return Verdict.INCONCLUSIVE, _inconclusive_code(effects)
    return Verdict.PASS, ExitCode.PASS


def _inconclusive_code(effects: set[OnInconclusive]) -> ExitCode:
    """Return the exit code of the strictest `on_inconclusive` of the inconclusive tasks."""
    if OnInconclusive.FAIL in effects:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if OnInconclusive.WARN in effects else ExitCode.PASS


def _reasons(tasks: Sequence[TaskVerdict], verdict: Verdict) -> tuple[str, ...]:
    """Return the first reason of each task that did not pass, the tasks that decided the verdict first."""
    if not tasks:
        return (messages.NO_TASK,)
    not_passed = [task for task in tasks if task.tier is not Tier.ADVISORY and task.verdict is not Verdict.PASS]
    not_passed.sort(key=lambda task: (task.verdict is not verdict, task.tier is not Tier.CRITICAL))
    return tuple(messages.of_task(task.task, task.reasons[0]) for task in not_passed)
