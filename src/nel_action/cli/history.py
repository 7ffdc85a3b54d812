"""`nel-action history`: test a series of runs for a regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from nel_action.gating.result_set import ResultSet
    from nel_action.gating.trend import TrendEntry, TrendVerdict
    from nel_action.spec.policy import GatePolicy

__all__ = ["history"]


@click.command(epilog="Exit codes: 1 if a task has regressed, 3 if a task could not be judged, else 0.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option(
    "-p", "--policy", required=True, type=click.Path(path_type=Path), help="File with the limits (`gate:` of a spec)."
)
@click.option("-b", "--baseline", help="Run to compare all runs with; by default the first one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(*, runs: tuple[str, ...], policy: Path, baseline: str | None, as_json: bool) -> int:
    """Test a series of runs, oldest first, for a regression.

    The test is anytime-valid: its false alarm rate holds for the entire series, however often it is repeated. Each RUN
    is a file, a directory, an invocation or mlflow:<run>, as for `gate`.
    """
    from nel_action.cli.common import open_reference
    from nel_action.gating.policy import load_policy
    from nel_action.gating.trend import group_by_task, judge_trend, vanished_tasks

    rules = load_policy(policy)
    result_sets = [open_reference(run) for run in runs]
    entries = _judge_runs(result_sets, open_reference(baseline) if baseline else None, rules)
    verdicts = [judge_trend(series, confidence=rules.confidence) for series in group_by_task(entries).values()]
    vanished = vanished_tasks(entries)
    click.echo(_to_json(verdicts, vanished) if as_json else "\n".join(_to_lines(verdicts, vanished)))
    if any(verdict.regressed for verdict in verdicts):
        return ExitCode.FAIL
    is_complete = verdicts and not vanished and all(verdict.judged for verdict in verdicts)
    return ExitCode.PASS if is_complete else ExitCode.UNMEASURABLE


def _judge_runs(
    runs: Sequence[ResultSet], baseline: ResultSet | None, policy: GatePolicy
) -> list[tuple[TrendEntry, ...]]:
    """Compare each run with the baseline, by default the first run.

    Raises:
        UsageError: there is a single run and no baseline.
    """
    from nel_action.gating.judge import judge_result_set
    from nel_action.gating.trend import trend_entries

    if baseline is None and len(runs) < 2:  # noqa: PLR2004 - a comparison
        msg = "history needs at least two runs, or a baseline"
        raise UsageError(msg)
    entries = []
    for index, run in enumerate(runs):
        run_baseline = baseline or (runs[0] if index else None)
        expected = list(dict.fromkeys(result.task for result in run.results.tasks))
        report = judge_result_set(run, policy=policy, baseline=run_baseline, expected=expected)
        entries.append(trend_entries(run.results, report, policy, fixed=True))
    return entries


def _to_lines(verdicts: Sequence[TrendVerdict], vanished: Sequence[str]) -> Iterator[str]:
    from nel_action.report.text_table import single_line

    for verdict in verdicts:
        reasons = dict.fromkeys((verdict.reason, *verdict.left_out))
        text = "; ".join([f"{verdict.runs} runs judged together", *map(single_line, reasons)])
        yield f"{single_line(verdict.task)}: {_state(verdict)} ({text})"
    for name in vanished:
        yield f"{single_line(name)}: unmeasurable (the last run does not have it)"


def _state(verdict: TrendVerdict) -> str:
    if verdict.regressed:
        return "regressed"
    return "no regression" if verdict.judged else "unmeasurable"


def _to_json(verdicts: Sequence[TrendVerdict], vanished: Sequence[str]) -> str:
    import json

    rows: list[dict[str, object]] = [
        {
            "task": verdict.task,
            "model": verdict.model,
            "state": _state(verdict).replace(" ", "_"),
            "runs": verdict.runs,
            "reason": verdict.reason,
            "left_out": list(verdict.left_out),
        }
        for verdict in verdicts
    ]
    rows += [{"task": name, "state": "unmeasurable", "reason": "the last run does not have it"} for name in vanished]
    return json.dumps(rows, indent=2)
