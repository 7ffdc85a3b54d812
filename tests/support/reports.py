"""Reports to render: small, typical and hostile ones."""

from __future__ import annotations

from dataclasses import replace

from nel_action.gating.verdict import Comparison, Flip, GateReport, TaskVerdict, Verdict
from nel_action.model.results import Interval, JobOutcome, Results, Score, TaskResult
from nel_action.report.model import Event, Link, Metadata, Report
from nel_action.spec.policy import Tier

__all__ = ["HOSTILE", "failed", "hostile", "many", "passed", "result", "verdict"]

HOSTILE = (
    "a|b\n| x |`@octocat` #1 <!-- <img src=x onerror=alert(1)> ![i](https://e.example/i.png) [l](javascript:x)\x1b[2J"
)


def result(
    task: str, *, model: str = "acme-7b", value: float = 0.741, outcome: JobOutcome = JobOutcome.SUCCEEDED
) -> TaskResult:
    """Return the result of a task."""
    score = Score(metric="exact_match", value=value, stderr=0.019, n=541, higher_is_better=True)
    return TaskResult(
        task=task,
        model=model,
        job_id="4f1c9a2000000000.0",
        key="nel-0123456789abcdef",
        outcome=outcome,
        primary_metric="exact_match",
        scores=(score,) if outcome is JobOutcome.SUCCEEDED else (),
        n_items=541,
        n_expected=541,
        harness="lm_eval",
        harness_version="0.4.9",
        params={"temperature": 0.0, "limit_samples": 541},
        command=("lm_eval", "--model", "local-chat-completions"),
        started="2026-11-22T10:30:45Z",
        ended="2026-11-22T10:32:55Z",
        seconds=130.0,
        usage={"prompt_tokens": 120_000, "completion_tokens": 30_000, "cost_usd": 0.42},
    )


def verdict(
    task: str,
    kind: Verdict,
    *,
    model: str = "acme-7b",
    difference: float = 0.0,
    half_width: float = 0.02,
    flips: tuple[int, int] = (0, 0),
    reason: str = "",
    tier: Tier = Tier.SUPPORTING,
) -> TaskVerdict:
    """Return the verdict on a task, compared with a baseline score of 0.865."""
    bounds = Interval(low=difference - half_width, high=difference + half_width, level=0.9, method="bonett-price")
    worse = tuple(Flip(id=f"w{n}", baseline=1, candidate=0) for n in range(flips[0]))
    better = tuple(Flip(id=f"b{n}", baseline=0, candidate=1) for n in range(flips[1]))
    compared = Comparison(
        baseline=0.865,
        difference=difference,
        interval=bounds,
        n_paired=541,
        worse=worse,
        better=better,
        n_worse=flips[0],
        n_better=flips[1],
    )
    return TaskVerdict(
        task=task,
        model=model,
        metric="exact_match",
        tier=tier,
        verdict=kind,
        reasons=(reason,) if reason else (),
        score=round(0.865 + difference, 3),
        stderr=0.019,
        n=541,
        margin=0.03,
        higher_is_better=True,
        comparison=compared,
    )


def _results(*tasks: TaskResult) -> Results:
    return Results(
        invocation="4f1c9a2000000000",
        created="2026-11-22T10:33:00Z",
        tool_version="0.1.0",
        repository="acme/models",
        commit="a1b2c3d",
        spec_digest="0" * 64,
        tasks=tasks,
    )


def _metadata() -> Metadata:
    return Metadata(
        spec_path="evals/gate.yaml",
        executor="local",
        seconds=142.0,
        history=(Event("2026-11-22T10:31:00Z", "resumed on another machine"),),
        links=(Link("Full report", "https://ci.example/run/1"), Link("bad", "javascript:alert(1)")),
    )


def passed() -> Report:
    """Return a report without a measurable change."""
    tasks = (verdict("ifeval", Verdict.PASS, difference=-0.001), verdict("gsm8k", Verdict.PASS, difference=0.002))
    gate = GateReport(verdict=Verdict.PASS, exit_code=0, tasks=tasks, baseline="main a1b2c3d")
    return Report(results=_results(result("ifeval"), result("gsm8k")), gate=gate, metadata=_metadata())


def failed() -> Report:
    """Return a report with all four verdicts, an advisory failure and a job without results."""
    reason = "gsm8k dropped by 5.3 pp, more than the allowed 3 pp"
    tasks = (
        verdict("arc", Verdict.PASS, difference=0.004),
        verdict("ifeval", Verdict.INCONCLUSIVE, difference=-0.007, flips=(9, 5), reason="1,150 items would settle it"),
        verdict("gsm8k", Verdict.FAIL, difference=-0.053, flips=(29, 8), reason=reason, tier=Tier.CRITICAL),
        verdict("style", Verdict.FAIL, difference=-0.06, reason="dropped by more than 3 pp", tier=Tier.ADVISORY),
        TaskVerdict(task="mmlu", model="acme-7b", verdict=Verdict.UNMEASURABLE, reasons=("the job ran out of memory",)),
    )
    gate = GateReport(
        verdict=Verdict.FAIL,
        exit_code=1,
        reasons=(reason, "mmlu could not be measured"),
        tasks=tasks,
        baseline="main a1b2c3d",
        notes=("the pull request changes evals/gate.yaml; the policy of main was used",),
    )
    without_result = result("mmlu", outcome=JobOutcome.FAILED)
    results = (result("arc"), result("ifeval"), result("gsm8k"), result("style"), without_result)
    return Report(results=_results(*results), gate=gate, metadata=_metadata())


def hostile() -> Report:
    """Return a report in which all outside text is an attack."""
    judged = verdict("x", Verdict.FAIL, difference=-0.1, flips=(1, 0), reason=HOSTILE)
    judged = judged.model_copy(update={"task": HOSTILE, "model": HOSTILE, "metric": HOSTILE})
    first = result("x").model_copy(update={"task": HOSTILE, "model": HOSTILE, "harness": HOSTILE, "image": HOSTILE})
    second = result("y", model="second").model_copy(update={"outcome": JobOutcome.FAILED, "detail": HOSTILE})
    gate = GateReport(
        verdict=Verdict.FAIL, exit_code=1, reasons=(HOSTILE,), tasks=(judged,), baseline=HOSTILE, notes=(HOSTILE,)
    )
    metadata = Metadata(
        spec_path=HOSTILE, history=(Event(HOSTILE, HOSTILE),), links=(Link(HOSTILE, "https://x.example/a b)|"),)
    )
    return Report(results=_results(first, second), gate=gate, metadata=metadata)


def many(count: int, kind: Verdict) -> Report:
    """Return a report of many tasks with the same verdict and long reasons."""
    reason = "dropped by more than the policy allows; this sentence continues for a while to fill the cell of the table"
    tasks = tuple(verdict(f"task-{n:05}", kind, difference=-0.05, reason=reason) for n in range(count))
    gate = GateReport(verdict=kind, exit_code=1, reasons=(f"{count} tasks dropped",), tasks=tasks, baseline="main")
    return replace(passed(), gate=gate, results=_results(*(result(task.task) for task in tasks)))
