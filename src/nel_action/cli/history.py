"""`nel-action history`: test a series of runs for a regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from nel_action.gating.result_set import ResultSet
    from nel_action.gating.trend import TrendEntry, TrendVerdict
    from nel_action.spec.policy import GatePolicy

__all__ = ["history"]


@click.command(epilog="Exit codes: 1 if a task has regressed, else 0.")
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
    from nel_action.gating.trend import group_by_task, judge_trend

    rules = load_policy(policy)
    result_sets = [open_reference(run) for run in runs]
    entries = _judge_runs(result_sets, open_reference(baseline) if baseline else None, rules)
    verdicts = [judge_trend(series, confidence=rules.confidence) for series in group_by_task(entries).values()]
    click.echo(_to_json(verdicts) if as_json else "\n".join(_to_line(verdict) for verdict in verdicts))
    return ExitCode.FAIL if any(verdict.regressed for verdict in verdicts) else ExitCode.PASS


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


def _to_line(verdict: TrendVerdict) -> str:
    from nel_action.report.text_table import single_line

    status = "regressed" if verdict.regressed else "no regression"
    return f"{single_line(verdict.task)}: {status} ({verdict.runs} runs judged together; {verdict.reason})"


def _to_json(verdicts: Sequence[TrendVerdict]) -> str:
    import json

    rows = [
        {
            "task": verdict.task,
            "model": verdict.model,
            "nights": verdict.runs,
            "fallen": verdict.regressed,
            "said": verdict.reason,
        }
        for verdict in verdicts
    ]
    return json.dumps(rows, indent=2)
