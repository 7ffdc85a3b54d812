"""`nel-action export`: send results of invocations elsewhere, by hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import env_file_option, home_dir
from nel_action.cli.env_file import environment
from nel_action.errors import ExitCode, Problem, SpecError

if TYPE_CHECKING:
    from nel_action.exporters.interface import ExportOutcome

__all__ = ["export"]


@click.command()
@click.argument("invocations", nargs=-1, metavar="[INVOCATION|DIRECTORY]...")
@click.option(
    "--dest", default="local", show_default=True, metavar="NAME", help="Also wandb, mlflow, gsheets, a plug-in."
)
@click.option("--job-dirs", multiple=True, type=click.Path(path_type=Path), help="Look for run directories here too.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML with export.NAME.")
@click.option("-o", "--override", "overrides", multiple=True, metavar="export.NAME.KEY=VALUE", help="Set one option.")
@click.option("-out", "--output-dir", "output_dir", help="Folder of local files.")
@click.option("-fname", "--output-filename", "output_filename", help="Name of the local file.")
@click.option("--format", "format_", type=click.Choice(["json", "csv", "junit", "parquet"]), help="Of the local file.")
@click.option("--log-metrics", multiple=True, metavar="METRIC", help="Only these metrics.")
@click.option("--copy-artifacts/--no-copy-artifacts", default=None, help="Send harness files too.")
@click.option("--copy-logs/--no-copy-logs", default=None, help="Send logs too.")
@click.option("--only-required/--all-artifacts", default=None, help="Of harness files, only the results.")
@env_file_option
def export(
    invocations: tuple[str, ...],
    dest: str,
    job_dirs: tuple[Path, ...],
    config: Path | None,
    overrides: tuple[str, ...],
    format_: str | None,
    log_metrics: tuple[str, ...],
    env_file: Path | None,
    **flags: object,
) -> int:
    """Send results elsewhere; sending them twice changes nothing.

    Options come from `export.NAME` of the run's own spec, then --config, then -o, then the flags here.
    """
    from nel_action.exporters.discovery import find_runs
    from nel_action.exporters.service import export_run

    flags |= {"format": format_, "log_metrics": log_metrics or None}
    given = _given(dest, config, overrides) | {name: value for name, value in flags.items() if value is not None}
    searched = (*job_dirs, *(Path(one) for one in given.get("job_dirs") or ()))
    environ = environment(os.environ, env_file)
    outcomes = [export_run(run, dest, environ, given) for run in find_runs(invocations, searched, home_dir())]
    for outcome in outcomes:
        _tell(outcome)
    return ExitCode.PASS if all(outcome.complete for outcome in outcomes) else ExitCode.UNMEASURABLE


def _given(destination: str, config: Path | None, overrides: tuple[str, ...]) -> dict[str, Any]:
    from nel_action.exporters.service import read_yaml
    from nel_action.exporters.settings import apply_override

    options: dict[str, Any] = {}
    if config:
        options |= _section(read_yaml(config), destination, config)
    problems = [problem for one in overrides if (problem := apply_override(options, one, destination))]
    if problems:
        raise SpecError(problems)
    return options


def _section(data: dict[str, Any], destination: str, path: Path) -> dict[str, Any]:
    """Return the options of one destination; a file without `export` holds nothing else."""
    exports = data.get("export")
    if exports is None:
        return data
    if not isinstance(exports, dict) or destination not in exports:
        msg = f"{path} has no export.{destination}"
        raise SpecError([Problem(msg, hint=f"write the options under export: {destination}:")])
    return exports[destination] or {}


def _tell(outcome: ExportOutcome) -> None:
    for item in outcome.items:
        where = f" → {item.where}" if item.where else ""
        problem = f": {item.problem}" if item.problem else ""
        click.echo(f"{item.what}  {item.change.value}{where}{problem}", err=item.problem is not None)
    for note in outcome.notes:
        click.echo(f"note: {note}", err=True)
