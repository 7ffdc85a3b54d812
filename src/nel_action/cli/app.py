"""The root command; sub-commands are imported when they are called, so that `--help` is fast."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import click

from nel_action.errors import ExitCode, NelActionError, NotFoundError
from nel_action.version import __version__

__all__ = ["COMMANDS", "LazyGroup", "main", "root"]

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("nel_action.cli.run:run", "Run the benchmarks of a spec."),
    "wait": ("nel_action.cli.wait:wait", "Wait for an invocation, then judge and report it."),
    "status": ("nel_action.cli.status:status", "Show the states of jobs."),
    "logs": ("nel_action.cli.logs:logs", "Show the logs of jobs."),
    "kill": ("nel_action.cli.kill:kill", "Cancel jobs and wait until they have stopped."),
    "resume": ("nel_action.cli.resume:resume", "Run jobs without a measurable result again."),
    "info": ("nel_action.cli.info:info", "Show the files and locations of an invocation."),
    "ls": ("nel_action.cli.ls:ls", "List tasks or runs."),
    "report": ("nel_action.cli.report:report", "Write or print the report of an invocation."),
    "gate": ("nel_action.cli.gate:gate", "Judge results against a baseline and a policy."),
    "history": ("nel_action.cli.history:history", "Test a series of runs for a regression (anytime-valid)."),
    "calibrate": (
        "nel_action.cli.calibrate:calibrate",
        "Measure the false alarms of a policy on repeated runs.",
    ),
    "requests": ("nel_action.cli.requests:requests", "List the recorded requests of an invocation."),
    "gateway": ("nel_action.cli.gateway:gateway", "Serve a recording proxy for an endpoint."),
    "export": ("nel_action.cli.export:export", "Send results to another system."),
    "doctor": ("nel_action.cli.doctor:doctor", "Check what is installed, reachable and usable."),
    "ci": ("nel_action.cli.ci:ci", "Run the steps of a GitHub workflow; called by action.yml."),
    "version": ("nel_action.cli.version:version", "Print the version."),
    "schema": ("nel_action.cli.schema:schema", "Print the JSON Schema of specs, for editors."),
}
"""Name → location of the command, and its one-line help."""


def _log(ctx: click.Context, _parameter: click.Parameter, count: int) -> None:
    if count:
        from nel_action.cli.common import start_logging

        start_logging(ctx, count)


def _verbose(*, hidden: bool = False) -> click.Option:
    """Return the option `-v`, which is accepted before and after the name of a command."""
    text = "Log progress to standard error; -vv logs details."
    return click.Option(["-v", "--verbose"], count=True, expose_value=False, hidden=hidden, callback=_log, help=text)


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def __init__(self, *args: object, commands: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._table = commands

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self._table:
            return None
        module, _, name = self._table[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table is constant
        if not any("-v" in parameter.opts for parameter in command.params):
            command.params.append(_verbose(hidden=True))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self._table, n=1)
            if not near:
                raise
            msg = f"no command '{args[0]}'; did you mean '{near[0]}'?"
            raise click.UsageError(msg, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write names and one-line helps."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])


@click.group(
    cls=LazyGroup,
    commands=COMMANDS,
    params=[_verbose()],
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        # NOTE: like the launcher, accept `--max_wait` for `--max-wait`.
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@click.version_option(__version__, "-V", "--version", prog_name="nel-action", message="%(prog)s %(version)s")
def root() -> None:
    """Gate changes to language models on benchmark results.

    \b
    Exit codes: 0 pass, 1 fail, 2 the spec or the command line is wrong, 3 unmeasurable,
    4 inconclusive, 5 still running, 130 cancelled.
    """  # noqa: D301 click looks for the character itself


def main() -> NoReturn:
    """Run the command line; every error is a message and an exit code, never a traceback.

    An unexpected exception exits with 3: exit code 1 has one cause, a measured failure.
    """
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        code = root.main(standalone_mode=False)
        sys.stdout.flush()
    except NelActionError as error:
        return _print_error(error)
    except click.exceptions.Abort:
        click.echo("cancelled", err=True)
        return ExitCode.CANCELLED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return ExitCode.CANCELLED
    except (BrokenPipeError, SystemExit) as error:
        from nel_action.cli.crash import report_crash, verdict_expected

        if isinstance(error, SystemExit) and not type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return report_crash(error)
        # NOTE: the reader (`| head`) closed the pipe, for which click raises SystemExit(1); that is no error, except
        # where the exit code is the verdict.
        sys.stdout = None
        return ExitCode.UNMEASURABLE if verdict_expected(sys.argv[1:]) else ExitCode.PASS
    except Exception as error:  # noqa: BLE001 - the one handler of unexpected errors
        from nel_action.cli.crash import report_crash

        return report_crash(error)
    return code if isinstance(code, int) else ExitCode.PASS


def _print_error(error: NelActionError) -> ExitCode:
    """Print all problems of an error and return its exit code."""
    for problem in error.problems:
        click.echo(str(problem), err=True)
    if error.exit_code is ExitCode.USAGE and not isinstance(error, NotFoundError):
        count = len(error.problems)
        click.echo(f"{count} problem{'s' if count != 1 else ''}; nothing was run.", err=True)
    return error.exit_code
