"""Code shared by several commands: their options, access to specs, invocations and jobs, and signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from nel_action.errors import NotFoundError
from nel_action.files import home_dir

if TYPE_CHECKING:
    from nel_action.gating.result_set import ResultSet
    from nel_action.lifecycle.session import JobView, Session
    from nel_action.spec.compose import LoadedSpec

__all__ = [
    "deadline_after",
    "env_file_option",
    "home_dir",
    "load",
    "max_wait_option",
    "open_reference",
    "select_jobs",
    "session",
    "spec_options",
    "start_logging",
    "stopping",
    "task_option",
]

VERBOSITY = "nel_action.verbosity"
LOG_HANDLER = "nel_action.log_handler"
LOG_REDACTOR = "nel_action.log_redactor"


def env_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--env-file`."""
    text = "Read variables from this file (default: ./.env, except in CI)."
    return click.option("--env-file", type=click.Path(path_type=Path), help=text)(command)


def max_wait_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--max-wait`."""
    text = "Stop waiting after SECONDS (exit code 5)."
    return click.option("--max-wait", type=click.FloatRange(min=0), metavar="SECONDS", help=text)(command)


def task_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--task`."""
    return click.option("-t", "--task", "tasks", multiple=True, metavar="NAME", help="Only this task; repeatable.")(
        command
    )


def spec_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options that select and change a spec."""
    for decorate in reversed(
        (
            click.argument("spec", required=False, type=click.Path(path_type=Path)),
            click.option("--config", type=click.Path(path_type=Path), help="File of the spec, as an option."),
            click.option("--config-dir", type=click.Path(path_type=Path), help="Directory of specs and groups."),
            click.option("--config-name", help="Name of the spec in --config-dir."),
            click.option(
                "--base-dir",
                type=click.Path(path_type=Path),
                help="Directory that relative paths start from (default: that of the spec).",
            ),
            click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key."),
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
    """Load the spec that the options select, and print its warnings.

    Args:
        spec: the argument SPEC.
        config: `--config`.
        config_dir: `--config-dir`.
        config_name: `--config-name`.
        overrides: `-o`.
        tasks: `-t`.
        base_dir: `--base-dir`.
        environ: variables of this process, those of `--env-file` included.

    Raises:
        SpecError: the spec is invalid.
        NotFoundError: the spec does not have one of the tasks.
    """
    from nel_action.lifecycle.loading import load as load_spec
    from nel_action.lifecycle.loading import select_tasks

    if spec and config and spec != config:
        msg = "the spec is given twice: as an argument and with --config"
        raise click.UsageError(msg)
    if not (spec or config or config_name):
        msg = "no spec given: use nel-action run SPEC, or --config-dir DIR --config-name NAME"
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
    """Open results named on the command line: a path, an invocation of this machine, or `mlflow:<run>`.

    Raises:
        NotFoundError: nothing has this name.
        AmbiguousError: several invocations match.
        ResultsError: the results are incomplete.
    """
    if Path(reference).exists():
        # NOTE: the common case; importing the resolution of other references takes a quarter of a second.
        from nel_action.gating.external import open_run

        return open_run(Path(reference), name=reference)
    from nel_action.driver.baselines import open_baseline

    def reject_branch(name: str) -> Path | None:
        msg = f"{name} does not exist"
        raise NotFoundError(
            msg, hint="name a results file, a directory, an invocation (nel-action ls runs) or mlflow:<run>"
        )

    results = open_baseline(reference, folder=Path(), home=home_dir(), environ=os.environ, branches=reject_branch)
    assert results is not None  # noqa: S101 - only a branch may be without results
    return results


@contextmanager
def session(reference: str, environ: Mapping[str, str] = os.environ) -> Iterator[Session]:
    """Open an invocation by the beginning of its ID, or by its run directory.

    Raises:
        NotFoundError: there is no such invocation.
    """
    from nel_action.lifecycle.session import open_session

    with open_session(reference, home=home_dir(), environ=environ) as opened:
        _redact_variables_of(lambda: opened.invocation.plan.spec.model_dump(mode="json"), environ)
        yield opened


def select_jobs(opened: Session, reference: str, tasks: Sequence[str] = ()) -> list[JobView]:
    """Return the jobs that a command refers to.

    Args:
        opened: the invocation.
        reference: `<invocation>` for all jobs, or `<invocation>.<n>` for one.
        tasks: names of tasks or jobs; all if empty.

    Raises:
        NotFoundError: no job matches.
    """
    _, dot, number = reference.rpartition(".")
    index = int(number) if dot and number.isdigit() else None
    views = [
        view
        for view in opened.views()
        if index in {None, view.job.index} and (not tasks or {view.job.name, view.job.task.display} & set(tasks))
    ]
    if not views:
        known = ", ".join(view.job.name for view in opened.views())
        msg = f"invocation {opened.invocation.id} has no such job"
        raise NotFoundError(msg, hint=f"its tasks: {known}")
    return views


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
    """Redact the values of the variables that a spec names from log messages and from reports of errors."""
    from nel_action.cli.crash import redact_values
    from nel_action.redaction import likely_secrets, named_variables

    values = likely_secrets(environ, named_variables(spec()))
    redact_values(values)
    ctx = click.get_current_context(silent=True)
    if ctx is not None and LOG_REDACTOR in ctx.meta:
        ctx.meta[LOG_REDACTOR].add(values)


@contextmanager
def stopping(stop: Event) -> Iterator[None]:
    """Set `stop` on the first SIGINT or SIGTERM, and raise KeyboardInterrupt on the second."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def deadline_after(seconds: float | None) -> float | None:
    """Return the time on the monotonic clock that many seconds from now; None for no limit."""
    return None if seconds is None else time.monotonic() + seconds
