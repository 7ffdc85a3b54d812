"""`nel-action calibrate`: measure the false alarm rate of a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nel_action.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nel_action.gating.calibrate import Calibration

__all__ = ["calibrate"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option(
    "-p",
    "--policy",
    required=True,
    type=click.Path(path_type=Path),
    help="File with the limits (`gate:` of a spec).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate(runs: tuple[str, ...], policy: Path, as_json: bool) -> int:  # noqa: FBT001 - click passes it by name
    """Compare repeated runs of the same model with each other.

    Nothing changed between them, so every failure is a false alarm. Each RUN is a file, a directory, an invocation or
    mlflow:<run>, as for `gate`.
    """
    from nel_action.cli.common import open_reference
    from nel_action.gating.calibrate import calibrate as calibrate_policy
    from nel_action.gating.policy import load_policy

    calibration = calibrate_policy([open_reference(run) for run in runs], load_policy(policy))
    click.echo(calibration.model_dump_json(indent=2) if as_json else _to_text(calibration))
    return ExitCode.UNMEASURABLE if calibration.unjudged else ExitCode.PASS


def _to_text(calibration: Calibration) -> str:
    from nel_action.formatting import percentage
    from nel_action.report.text_table import single_line

    false_alarms, at_most = percentage(calibration.false_fails, 1), percentage(calibration.at_most, 0)
    lines = [
        f"{calibration.runs} runs, {calibration.comparisons} comparisons: {_counts(calibration.verdicts)}",
        f"false alarms: {false_alarms} (upper confidence bound with this number of runs: {at_most})",
    ]
    for task in calibration.tasks:
        difference = task.unit.amount(task.spread)
        lines.append(f"{single_line(task.task)}: {_counts(task.verdicts)}; mean difference of two runs: {difference}")
        if task.detectable is not None:
            lines.append(f"  detectable drop (80 % power): {task.unit.amount(task.detectable)}")
    if calibration.unjudged:
        names = ", ".join(map(single_line, calibration.unjudged))
        lines.append(f"unmeasurable in some comparisons, which the false alarm rate does not cover: {names}")
    return "\n".join(lines)


def _counts(verdicts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
