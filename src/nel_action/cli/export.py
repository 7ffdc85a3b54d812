"""`nel-action export`: export results of invocations."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nel_action.cli.common import env_file_option, home_dir
from nel_action.cli.env_file import environment
from nel_action.errors import ExitCode, Problem, SpecError

if TYPE_CHECKING:
    from nel_action.exporters.interface import ExportOutcome

__all__ = ["export"]


class _ExportCommand(click.Command):
    """Accept the launcher's notations: several metrics after one option, and a truth value after a flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the arguments to click's notation, and parse them."""
        return super().parse_args(ctx, list(_rewrite(args)))


_FLAGS: Final = {
    "--only-required": "--all-artifacts",
    "--copy-artifacts": "--no-copy-artifacts",
    "--copy-logs": "--no-copy-logs",
}
"""Flags, and what they are called when the launcher gives them the value False."""
_INVOCATION: Final = re.compile(r"[0-9a-f]{4,16}(\.[0-9]+)?")


def _rewrite(args: Iterable[str]) -> Iterator[str]:
    """Yield arguments in click's notation.

    Words after a metric are metrics, until an option, an invocation ID or a directory follows.
    """
    pending = deque(args)
    in_metrics = False
    while pending:
        word = pending.popleft()
        if word == "--":
            yield from (word, *pending)
            return
        if word.startswith("-"):
            option = word.replace("_", "-")
            in_metrics = option == "--log-metrics"
            if option in _FLAGS and pending and pending[0].casefold() in {"true", "false"}:
                yield option if pending.popleft().casefold() == "true" else _FLAGS[option]
            else:
                yield option if in_metrics else word
            if in_metrics and pending:
                yield pending.popleft()
        elif in_metrics and not _INVOCATION.fullmatch(word) and not Path(word).is_dir():
            yield from ("--log-metrics", word)
        else:
            in_metrics = False
            yield word


@click.command(cls=_ExportCommand)
@click.argument("invocations", nargs=-1, metavar="[INVOCATION|DIRECTORY]...")
@click.option(
    "--dest",
    default="local",
    show_default=True,
    metavar="NAME",
    help="Destination: local, wandb, mlflow, gsheets or a plug-in.",
)
@click.option("--job-dirs", multiple=True, type=click.Path(path_type=Path), help="Search this folder for runs too.")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML file with export.NAME."
)
@click.option("-o", "--override", "overrides", multiple=True, metavar="export.NAME.KEY=VALUE", help="Set an option.")
@click.option("-out", "--output-dir", "output_dir", help="Folder of local files.")
@click.option("-fname", "--output-filename", "output_filename", help="Name of the local file.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["json", "csv", "junit", "parquet", "every_eval_ever"]),
    help="Format of the local file.",
)
@click.option("--log-metrics", multiple=True, metavar="METRIC", help="Export only these metrics; repeatable.")
@click.option("--copy-artifacts/--no-copy-artifacts", default=None, help="Export the harness's files too.")
@click.option("--copy-logs/--no-copy-logs", default=None, help="Export the logs too.")
@click.option(
    "--only-required/--all-artifacts", default=None, help="Export all of the harness's files, or only the results."
)
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
    """Export results; exporting them again changes nothing.

    Options are taken from `export.NAME` of the run's own spec, --config, -o and the flags below; later ones override
    earlier ones.
    """
    from nel_action.exporters.discovery import find_runs
    from nel_action.exporters.service import export_run

    flags |= {"format": format_, "log_metrics": log_metrics or None}
    options = _options(dest, config, overrides) | {name: value for name, value in flags.items() if value is not None}
    folders = (*job_dirs, *(Path(folder) for folder in options.get("job_dirs") or ()))
    environ = environment(os.environ, env_file)
    outcomes = [export_run(run, dest, environ, options) for run in find_runs(invocations, folders, home_dir())]
    for outcome in outcomes:
        _print(outcome)
    return ExitCode.PASS if all(outcome.complete for outcome in outcomes) else ExitCode.UNMEASURABLE


def _options(destination: str, config: Path | None, overrides: tuple[str, ...]) -> dict[str, Any]:
    from nel_action.exporters.service import read_yaml
    from nel_action.exporters.settings import apply_override

    options: dict[str, Any] = {}
    if config:
        options |= _section(read_yaml(config), destination, config)
    problems = [problem for text in overrides if (problem := apply_override(options, text, destination))]
    if problems:
        raise SpecError(problems)
    return options


def _section(data: dict[str, Any], destination: str, path: Path) -> dict[str, Any]:
    """Return the options of a destination; a file without `export` contains nothing but these options."""
    exports = data.get("export")
    if exports is None:
        return data
    if not isinstance(exports, dict) or destination not in exports:
        msg = f"no export.{destination} in {path}"
        raise SpecError([Problem(msg, hint=f"write the options below export: {destination}:")])
    return exports[destination] or {}


def _print(outcome: ExportOutcome) -> None:
    for item in outcome.items:
        address = f" → {item.where}" if item.where else ""
        problem = f": {item.problem}" if item.problem else ""
        click.echo(f"{item.what}  {item.change.value}{address}{problem}", err=item.problem is not None)
    for note in outcome.notes:
        click.echo(f"note: {note}", err=True)
