"""What several commands share: where things are, how to stop, how to say that something is wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from nel_action.errors import ExitCode, NotFoundError
from nel_action.files import home_dir

if TYPE_CHECKING:
    from nel_action.gating.result_set import ResultSet
    from nel_action.lifecycle.session import JobView, Session
    from nel_action.spec.compose import LoadedSpec

__all__ = [
    "active_exit_code",
    "env_file_option",
    "home_dir",
    "load",
    "open_reference",
    "session",
    "spec_options",
    "start_logging",
    "stopping",
]


def env_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--env-file`."""
    text = "Variables from this file (./.env, but not in CI)."
    return click.option("--env-file", type=click.Path(path_type=Path), help=text)(command)


def spec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the ways to name a spec."""
    for decorate in reversed(
        (
            click.argument("spec", required=False, type=click.Path(path_type=Path)),
            click.option("--config", type=click.Path(path_type=Path), help="The spec's file, as an option."),
            click.option("--config-dir", type=click.Path(path_type=Path), help="Folder of specs and groups."),
            click.option("--config-name", help="The spec's name in that folder."),
            click.option(
                "--base-dir", type=click.Path(path_type=Path), help="Where relative paths start; the spec's folder."
            ),
            click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key."),
            click.option(
                "-t", "--task", "--tasks", "tasks", multiple=True, metavar="NAME", help="Only this task; repeatable."
            ),
        )
    ):
        command = decorate(command)
    return command


def load(
    spec: Path | None,
    *,
    config: Path | None,
    config_dir: Path | None,
    config_name: str | None,
    overrides: Sequence[str],
    tasks: Sequence[str],
    base_dir: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> LoadedSpec:
    """Load the spec that the options name.

    Raises:
        SpecError: what is wrong with it.
    """
    from nel_action.lifecycle.loading import load as load_spec
    from nel_action.lifecycle.prepare import select_tasks

    if spec and config and spec != config:
        msg = "give the spec once: as an argument or with --config"
        raise click.UsageError(msg)
    if not (spec or config or config_name):
        msg = "which spec? nel-action run SPEC, or --config-dir DIR --config-name NAME"
        raise click.UsageError(msg)
    loaded = load_spec(
        spec or config, config_dir=config_dir, config_name=config_name, overrides=overrides, environ=environ
    )
    _redact_variables_of(lambda: loaded.resolved, environ)
    if base_dir is not None:
        loaded = replace(loaded, base_dir=base_dir.absolute())
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return select_tasks(loaded, tasks)


def open_reference(reference: str) -> ResultSet:
    """Open a run that was named on the command line: a path, an invocation of this machine, or `mlflow:<run>`.

    Raises:
        NotFoundError: there is nothing of that name, or several.
        ResultsError: it is not whole.
    """
    if Path(reference).exists():
        # NOTE: the common case, and what else a name may mean takes a quarter of a second to import.
        from nel_action.gating.external import open_run

        return open_run(Path(reference), name=reference)
    from nel_action.driver.judging import open_baseline

    def no_branch(name: str) -> None:
        msg = f"{name} does not exist"
        raise NotFoundError(
            msg, hint="name a results file, a folder, an invocation (nel-action ls runs) or mlflow:<run>"
        )

    found = open_baseline(reference, folder=Path(), home=home_dir(), branch=no_branch)
    assert found is not None  # noqa: S101 - only branches may be without a run
    return found


@contextmanager
def session(prefix: str, environ: Mapping[str, str] = os.environ) -> Iterator[Session]:
    """Take up an invocation.

    Raises:
        NotFoundError: there is none of that name.
    """
    from nel_action.lifecycle.session import open_session

    with open_session(prefix, home=home_dir(), environ=environ) as opened:
        _redact_variables_of(lambda: opened.invocation.plan.spec.model_dump(mode="json"), environ)
        yield opened


VERBOSITY = "nel_action.verbosity"
LOG_HANDLER = "nel_action.log_handler"
LOG_REDACTOR = "nel_action.log_redactor"


def start_logging(ctx: click.Context, count: int) -> None:
    """Log to standard error, with secrets redacted; called again, it increases the verbosity.

    Args:
        ctx: context of the command or of one of its parents.
        count: 1 logs progress, 2 details.
    """
    import logging

    from nel_action.log import configure_logging
    from nel_action.redaction import MutableRedactor, likely_secrets

    redactor = ctx.meta.setdefault(LOG_REDACTOR, MutableRedactor(likely_secrets(os.environ)))
    if (handler := ctx.meta.get(LOG_HANDLER)) is not None:
        logging.getLogger("nel_action").removeHandler(handler)
    ctx.meta[VERBOSITY] = ctx.meta.get(VERBOSITY, 0) + count
    ctx.meta[LOG_HANDLER] = configure_logging(ctx.meta[VERBOSITY], redact=redactor)


def _redact_variables_of(spec: Callable[[], object], environ: Mapping[str, str]) -> None:
    """Redact the values of the variables that a spec names from log messages, if messages are logged."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None and LOG_REDACTOR in ctx.meta:
        from nel_action.redaction import likely_secrets, named_variables

        ctx.meta[LOG_REDACTOR].add(likely_secrets(environ, named_variables(spec())))


@contextmanager
def stopping() -> Iterator[Event]:
    """Turn the first SIGINT or SIGTERM into an event, and the second into an end at once."""
    stop = Event()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def active_exit_code(views: Sequence[JobView]) -> ExitCode:
    """Return what the state of jobs means where nothing is judged."""
    from nel_action.model.job import JobState

    states = {view.state for view in views}
    if states & {JobState.FAILED, JobState.CANCELLED}:
        return ExitCode.UNMEASURABLE
    return ExitCode.PASS if states <= {JobState.SUCCEEDED} else ExitCode.RUNNING
