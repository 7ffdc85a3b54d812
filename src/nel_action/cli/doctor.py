"""`nel-action doctor`: check what is installed, reachable and usable, and suggest fixes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import click

from nel_action.cli.common import home_dir, load, spec_options
from nel_action.errors import EngineError, ExitCode, NelActionError

__all__ = ["doctor"]

EXTRAS = {
    "slurm": "paramiko",
    "lepton": "leptonai",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
    "gsheets": "gspread",
}
"""Optional dependencies of nel-action, and the distribution that each of them installs."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    state: str
    """`ok`, `missing` (required by some specs only) or `broken`."""
    detail: str = ""
    fix: str | None = None


@click.command()
@spec_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool, **spec: Any) -> int:  # noqa: ANN401 - the options of spec_options
    """Check what is installed, reachable and usable; with SPEC, also whether it can run now.

    Exit code 3 if something required does not work.
    """
    findings = [*_check_installation(), *_check_docker(), *(_check_spec(spec) if any(spec.values()) else [])]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        click.echo(_table(findings))
    broken = any(finding.state == "broken" for finding in findings)
    return ExitCode.UNMEASURABLE if broken else ExitCode.PASS


def _table(findings: Sequence[Finding]) -> str:
    from nel_action.report.text_table import render_table

    rows = []
    for finding in findings:
        rows.append((finding.state, finding.what, finding.detail))
        rows += [("", "", f"fix: {finding.fix}")] if finding.fix else []
    return render_table(("state", "check", "detail"), rows, header=False)


def _check_installation() -> Iterator[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", "ok", f"{python} at {sys.executable}")
    yield _check_home()
    uv = shutil.which("uv") or ("the uv package" if find_spec("uv") else None)
    fix = None if uv else "for harnesses without containers: pip install 'nel-action[process]'"
    yield Finding("uv", "ok" if uv else "missing", uv or "", fix)
    yield from (_check_extra(extra, distribution) for extra, distribution in EXTRAS.items())


def _check_extra(extra: str, distribution: str) -> Finding:
    try:
        return Finding(extra, "ok", f"{distribution} {version(distribution)}")
    except PackageNotFoundError:
        return Finding(extra, "missing", fix=f"if a spec uses it: pip install 'nel-action[{extra}]'")


def _check_home() -> Finding:
    home = home_dir()
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Finding("home", "broken", f"{home}: {error.strerror}", "set NEL_ACTION_HOME to a writable directory")
    from nel_action.formatting import file_size

    return Finding("home", "ok", f"{home}, {file_size(shutil.disk_usage(home).free)} free")


def _check_docker() -> Iterator[Finding]:
    """Check the Docker engine, which only some specs require."""
    from nel_action.executors.local.docker.engine import docker_client

    try:
        with docker_client(os.environ) as client:
            engine_version = client.version()
    except EngineError as error:
        yield from (Finding("docker", "missing", problem.message, problem.hint) for problem in error.problems)
        return
    yield Finding("docker", "ok", f"engine {engine_version.get('Version')} (API {engine_version.get('ApiVersion')})")


def _check_spec(options: dict[str, Any]) -> Iterator[Finding]:
    """Run the checks that `run` performs before it submits jobs."""
    from nel_action.driver.preflight import check_plan, check_spec
    from nel_action.driver.surroundings import Surroundings
    from nel_action.executors.interface import Surveying
    from nel_action.formatting import plural
    from nel_action.lifecycle.prepare import prepare

    try:
        loaded = load(options.pop("spec"), **options)
        around = Surroundings(home=home_dir(), environ=os.environ)
        for warning in check_spec(loaded, around):
            yield Finding("export", "missing", warning.message, warning.hint)
        with prepare(loaded, home=around.home, environ=around.environ) as prepared:
            if isinstance(prepared.executor, Surveying):
                yield from (Finding(label, "ok", value) for label, value in prepared.executor.survey())
            check_plan(prepared, around)
            yield Finding("spec", "ok", f"{loaded.source}: {plural(len(prepared.plan.jobs), 'job')} can run now")
    except NelActionError as error:
        for problem in error.problems:
            location = f"{problem.location}: " if problem.location else ""
            yield Finding("spec", "broken", f"{location}{problem.message}", problem.hint)
