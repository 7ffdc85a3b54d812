"""`nel-action gate`: judge result files of any supported format."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.errors import NotFoundError

if TYPE_CHECKING:
    from nel_action.gating.result_set import ResultSet
    from nel_action.gating.verdict import GateReport
    from nel_action.spec.policy import GatePolicy

__all__ = ["gate"]


@click.command(epilog="Exit codes: 0 pass, 1 fail, 3 unmeasurable, 4 inconclusive.")
@click.argument("runs", nargs=-1, required=True, metavar="[BASELINE] CANDIDATE")
@click.option(
    "-p",
    "--policy",
    type=click.Path(path_type=Path),
    help="File with the limits (the `gate:` section of a spec); without one, every task must have a complete result.",
)
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.pass_context
def gate(context: click.Context, runs: tuple[str, ...], policy: Path | None, form: str) -> None:
    """Judge a run by a policy and a baseline.

    Each run is a file or a directory (results.json of nel-action, results and samples of lm-eval, inspect logs,
    results.yml or bundles, eval-*.json with results.jsonl, of nemo-evaluator, JUnit XML, output of promptfoo, test runs
    of DeepEval, results of lighteval, records of Every Eval Ever, jobs of Harbor, scores.json), the id or id prefix of
    an invocation on this machine, or mlflow:<run>. The baseline can also be a branch: the latest passing run of it on
    this machine.
    """
    from nel_action.gating.policy import load_policy

    if len(runs) > 2:  # noqa: PLR2004 - a baseline and a candidate
        msg = f"expected a candidate, or a baseline and a candidate; got {len(runs)} arguments"
        raise click.UsageError(msg, context)
    rules = load_policy(policy) if policy else None
    candidate, report = _judge(runs, rules, policy.parent if policy else Path())
    click.echo(_render(form, candidate, report), nl=False)
    context.exit(report.exit_code)


def _judge(runs: tuple[str, ...], policy: GatePolicy | None, directory: Path) -> tuple[ResultSet, GateReport]:
    """Judge the candidate.

    Args:
        runs: an optional baseline and the candidate.
        policy: the limits, if there are any.
        directory: directory of the policy, which the paths in it start from.
    """
    from nel_action.cli.common import open_reference
    from nel_action.gating.judge import judge_result_set

    candidate, baseline = open_reference(runs[-1]), None
    if len(runs) > 1:
        baseline = open_reference(runs[0]) if Path(runs[0]).exists() else _required_baseline(runs[0])
    elif policy is not None and policy.baseline is not None:
        baseline = _open_baseline(policy.baseline, directory)
    named = policy.tasks if policy is not None else ()
    candidate, baseline = candidate.with_tasks(named), baseline.with_tasks(named) if baseline else None
    # NOTE: a task that only the baseline has is expected as well, so that a dropped task is unmeasurable.
    result_sets = [result_set for result_set in (candidate, baseline) if result_set]
    expected = list(dict.fromkeys(result.task for result_set in result_sets for result in result_set.results.tasks))
    return candidate, judge_result_set(candidate, policy=policy, baseline=baseline, expected=expected)


def _open_baseline(reference: str, directory: Path) -> ResultSet | None:
    """Open a baseline of any kind that a policy can name; None for a branch without a passing run."""
    from nel_action.cli.common import home_dir
    from nel_action.driver.baselines import open_baseline

    return open_baseline(reference, folder=directory, home=home_dir(), environ=os.environ)


def _required_baseline(reference: str) -> ResultSet:
    """Open a baseline that was named on the command line.

    Raises:
        NotFoundError: it has no run.
    """
    baseline = _open_baseline(reference, Path())
    if baseline is None:
        msg = f"baseline not found: '{reference}' has no passing run on this machine"
        raise NotFoundError(msg, hint="name a path or an invocation; nel-action ls runs lists the latter")
    return baseline


def _render(form: str, candidate: ResultSet, report: GateReport) -> str:
    match form:
        case "json":
            return report.model_dump_json(indent=2) + "\n"
        case "markdown":
            from nel_action.report.markdown import render_markdown
            from nel_action.report.model import Report

            return render_markdown(Report(results=candidate.results, gate=report))
        case _:
            from nel_action.report.model import Report
            from nel_action.report.terminal import render_terminal
            from nel_action.report.text_table import output_width, use_color

            width, color = output_width(sys.stdout), use_color(sys.stdout)
            return render_terminal(Report(results=candidate.results, gate=report), width=width, color=color)
