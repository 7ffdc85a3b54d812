"""`nel-action doctor`: what is installed, reachable and usable, and the fix for what is not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click

from nel_action.cli.common import home_dir
from nel_action.errors import EngineError, ExitCode, NelActionError

__all__ = ["doctor"]

EXTRAS = {
    "slurm": "paramiko",
    "lepton": "leptonai",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
    "gsheets": "gspread",
}
"""Extra → the distribution that it brings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str
    """`ok`, `missing` (only some specs need it) or `broken`."""
    detail: str = ""
    fix: str | None = None


@click.command()
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(*, spec: Path | None, as_json: bool) -> int:
    """Say what is installed, reachable and usable here; with SPEC, whether it could run now.

    Exits 3 when something that is needed does not work.
    """
    findings = [*_installed(), *_engines(), *([] if spec is None else _for_spec(spec))]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            fix = f"\n    {finding.fix}" if finding.fix else ""
            click.echo(f"{finding.state:8} {finding.what:18} {finding.detail}{fix}")
    broken = any(finding.state == "broken" for finding in findings)
    return ExitCode.UNMEASURABLE if broken else ExitCode.PASS


def _installed() -> Iterator[Finding]:
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", "ok", f"{python} at {sys.executable}")
    yield _home()
    uv = shutil.which("uv") or ("the uv package" if find_spec("uv") else None)
    fix = None if uv else "pip install 'nel-action[process]', for harnesses without containers"
    yield Finding("uv", "ok" if uv else "missing", uv or "", fix)
    yield from (_extra(extra, distribution) for extra, distribution in EXTRAS.items())


def _extra(extra: str, distribution: str) -> Finding:
    try:
        return Finding(extra, "ok", f"{distribution} {version(distribution)}")
    except PackageNotFoundError:
        return Finding(extra, "missing", fix=f"pip install 'nel-action[{extra}]', where a spec uses it")


def _home() -> Finding:
    home = home_dir()
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return Finding("home", "broken", f"{home}: {error.strerror}", "point NEL_ACTION_HOME to a folder you may write")
    free = shutil.disk_usage(home).free / 2**30
    return Finding("home", "ok", f"{home}, {free:.0f} GiB free")


def _engines() -> Iterator[Finding]:
    """Look for a Docker engine; not having one is only wrong for a spec that needs it."""
    from nel_action.executors.local.docker.engine import engine

    try:
        with engine(os.environ) as client:
            found = client.version()
    except EngineError as error:
        yield from (Finding("docker", "missing", problem.message, problem.hint) for problem in error.problems)
        return
    yield Finding("docker", "ok", f"engine {found.get('Version')} (API {found.get('ApiVersion')})")


def _for_spec(path: Path) -> Iterator[Finding]:
    """Do all that `run` does before anything is spent."""
    from nel_action.driver.judging import find_baseline
    from nel_action.driver.preflight import check_gate
    from nel_action.executors.interface import Surveying
    from nel_action.lifecycle.loading import load
    from nel_action.lifecycle.prepare import check, prepare

    try:
        loaded = load(path)
        check_gate(loaded.spec, locate=loaded.locate)
        with prepare(loaded, home=home_dir(), environ=os.environ) as prepared:
            find_baseline(loaded.spec, folder=loaded.base_dir, home=home_dir())
            if isinstance(prepared.executor, Surveying):
                yield from (Finding(what, "ok", text) for what, text in prepared.executor.survey())
            check(prepared)
            yield Finding("spec", "ok", f"{path}: {len(prepared.plan.jobs)} jobs could run now")
    except NelActionError as error:
        for problem in error.problems:
            place = f"{problem.location}: " if problem.location else ""
            yield Finding("spec", "broken", f"{place}{problem.message}", problem.hint)
