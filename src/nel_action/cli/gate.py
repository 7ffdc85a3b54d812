"""`nel-action gate`: judge result files, wherever they come from."""

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


@click.command(epilog="The exit code is the verdict's: 0 pass, 1 fail, 3 unmeasurable, 4 inconclusive.")
@click.argument("runs", nargs=-1, required=True, metavar="[BASELINE] CANDIDATE")
@click.option(
    "-p",
    "--policy",
    type=click.Path(path_type=Path),
    help="A file with what would stand under `gate:` in a spec; without one, everything must be there.",
)
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.pass_context
def gate(context: click.Context, runs: tuple[str, ...], policy: Path | None, form: str) -> None:
    """Judge a run against a baseline and a policy.

    Each run is a file or a folder (a results.json of nel-action, lm-eval results with their samples, inspect logs, a
    nemo-evaluator results.yml, or its bundles: eval-*.json with results.jsonl), an invocation of this machine by the
    beginning of its id, or mlflow:<run>. The baseline may also be a branch: the newest run of it here that passed.
    """
    from nel_action.gating.policy_file import load_policy

    if len(runs) > 2:  # noqa: PLR2004 - a baseline and a candidate
        msg = f"takes a baseline and a candidate, or a candidate alone; got {len(runs)} paths"
        raise click.UsageError(msg, context)
    rules = load_policy(policy) if policy else None
    candidate, report = _judge(runs, rules, policy.parent if policy else Path())
    click.echo(_render(form, candidate, report), nl=False)
    context.exit(report.exit_code)


def _judge(runs: tuple[str, ...], rules: GatePolicy | None, folder: Path) -> tuple[ResultSet, GateReport]:
    from nel_action.cli.common import open_reference
    from nel_action.gating.judge import judge_runs

    candidate, baseline = open_reference(runs[-1]), None
    if len(runs) > 1:
        baseline = open_reference(runs[0]) if Path(runs[0]).exists() else _there(_named(runs[0], Path()), runs[0])
    elif rules is not None and rules.baseline is not None:
        baseline = _named(rules.baseline, folder)
    # NOTE: a task that only the baseline has is expected all the same: it must not vanish unseen.
    sides = [side for side in (candidate, baseline) if side]
    expected = list(dict.fromkeys(result.task for side in sides for result in side.results.tasks))
    return candidate, judge_runs(candidate, policy=rules, baseline=baseline, expected=expected)


def _named(reference: str, folder: Path) -> ResultSet | None:
    """Open a baseline by whatever name a policy may give it."""
    from nel_action.cli.common import home_dir
    from nel_action.driver.baselines import open_baseline

    return open_baseline(reference, folder=folder, home=home_dir(), environ=os.environ)


def _there(found: ResultSet | None, reference: str) -> ResultSet:
    """Refuse a baseline that was named and has no run.

    Raises:
        NotFoundError: it has none.
    """
    if found is None:
        msg = f"no passing run of '{reference}' on this machine"
        raise NotFoundError(msg, hint="nel-action ls runs shows what there is; a path or an invocation works too")
    return found


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
