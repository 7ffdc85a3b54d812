"""`nel-action calibrate`: how often a policy would have cried wolf."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nel_action.gating.calibrate import Calibration

__all__ = ["calibrate"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("-p", "--policy", required=True, type=click.Path(path_type=Path), help="The policy to try.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def calibrate(runs: tuple[str, ...], policy: Path, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Hold repeated runs of the same model against each other.

    Nothing changed between them, so whatever fails is a false alarm. Each RUN is a file, a folder, an invocation
    or mlflow:<run>, as for `gate`.
    """
    from nel_action.cli.common import open_reference
    from nel_action.gating.calibrate import calibrate as try_policy
    from nel_action.gating.policy_file import load_policy

    found = try_policy([open_reference(run) for run in runs], load_policy(policy))
    click.echo(found.model_dump_json(indent=2) if as_json else _text(found))


def _text(found: Calibration) -> str:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(found.verdicts.items()))
    lines = [
        f"{found.runs} runs, {found.comparisons} comparisons: {counts}",
        f"false alarms: {found.false_fails:.1%} (with so few runs, up to {found.at_most:.0%} cannot be ruled out)",
    ]
    for task in found.tasks:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(task.verdicts.items()))
        name = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in task.task)
        lines.append(f"{name}: {counts}; two runs differ by {task.spread:.4g} on average")
        if task.detectable is not None:
            lines.append(f"  a drop of {task.detectable:.4g} would be found with 80 % power")
    return "\n".join(lines)
