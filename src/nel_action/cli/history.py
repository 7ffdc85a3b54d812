"""`nel-action history`: judge a row of runs, by a test that stays valid however often one looks."""

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


@click.command(epilog="The exit code is 1 where a task has fallen, else 0.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("-p", "--policy", required=True, type=click.Path(path_type=Path), help="The limits; the last run's hold.")
@click.option("-b", "--baseline", help="What all are held against; the first run unless said.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(*, runs: tuple[str, ...], policy: Path, baseline: str | None, as_json: bool) -> int:
    """Judge RUNs, oldest first, as one history.

    A fresh test every night cries wolf sooner or later; this one is valid however often one looks. Each RUN is a file,
    a folder, an invocation or mlflow:<run>, as for `gate`.
    """
    from nel_action.cli.common import open_reference
    from nel_action.gating.policy_file import load_policy
    from nel_action.gating.trend import group_by_task, judge_trend

    rules = load_policy(policy)
    rows = [open_reference(run) for run in runs]
    nights = _nights(rows, open_reference(baseline) if baseline else None, rules)
    found = [judge_trend(marks, confidence=rules.confidence) for marks in group_by_task(nights).values()]
    click.echo(_json(found) if as_json else "\n".join(_line(one) for one in found))
    return ExitCode.FAIL if any(one.regressed for one in found) else ExitCode.PASS


def _nights(rows: Sequence[ResultSet], baseline: ResultSet | None, rules: GatePolicy) -> list[tuple[TrendEntry, ...]]:
    """Hold each run against the same baseline.

    Raises:
        UsageError: there is one run alone, and nothing to hold it against.
    """
    from nel_action.gating.judge import judge_runs
    from nel_action.gating.trend import trend_entries

    if baseline is None and len(rows) < 2:  # noqa: PLR2004 - a pair
        msg = "a history takes at least two runs, or a baseline"
        raise UsageError(msg)
    nights = []
    for place, run in enumerate(rows):
        against = baseline or (rows[0] if place else None)
        expected = list(dict.fromkeys(result.task for result in run.results.tasks))
        report = judge_runs(run, policy=rules, baseline=against, expected=expected)
        nights.append(trend_entries(run.results, report, rules, fixed=True))
    return nights


def _line(one: TrendVerdict) -> str:
    name = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in one.task)
    return f"{name}: {'fallen' if one.regressed else 'holds'} ({one.runs} runs judged together; {one.reason})"


def _json(found: Sequence[TrendVerdict]) -> str:
    import json

    rows = [
        {
            "task": verdict.task,
            "model": verdict.model,
            "nights": verdict.runs,
            "fallen": verdict.regressed,
            "said": verdict.reason,
        }
        for verdict in found
    ]
    return json.dumps(rows, indent=2)
