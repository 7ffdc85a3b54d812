"""`nel-action info`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import select_jobs, session
from nel_action.errors import ExitCode, NelActionError

if TYPE_CHECKING:
    from nel_action.lifecycle.session import JobView, Session

__all__ = ["info"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("--config", is_flag=True, help="Print the resolved spec.")
@click.option("--artifacts", is_flag=True, help="Print where the files of each job's harness lie.")
@click.option("--logs", is_flag=True, help="Print where each job's logs lie.")
@click.option("--copy-artifacts", type=click.Path(path_type=Path), metavar="DIR", help="Bring them there.")
@click.option("--copy-logs", type=click.Path(path_type=Path), metavar="DIR", help="Bring them there.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(
    *,
    invocations: tuple[str, ...],
    config: bool,
    artifacts: bool,
    logs: bool,
    copy_artifacts: Path | None,
    copy_logs: Path | None,
    as_json: bool,
) -> int:
    """Show where everything of INVOCATIONS lies; `<invocation>.<n>` means one job."""
    copies = {kind: into for kind, into in (("artifacts", copy_artifacts), ("logs", copy_logs)) if into is not None}
    kinds = [kind for kind, wanted in (("artifacts", artifacts), ("logs", logs)) if wanted]
    told, whole = [], True
    for name in invocations:
        with session(name) as opened:
            views = select_jobs(opened, name)
            if copies:
                whole &= _copy(opened, views, copies)
            elif config:
                click.echo((opened.invocation.run_dir / "spec.yaml").read_text(encoding="utf-8").rstrip())
            elif kinds:
                _list_files(opened, views, kinds)
            else:
                told.append(_facts(opened, views))
    if told:
        click.echo(
            json.dumps(told if len(told) > 1 else told[0], indent=2) if as_json else "\n\n".join(map(_text, told))
        )
    return ExitCode.PASS if whole else ExitCode.UNMEASURABLE


def _facts(opened: Session, views: Sequence[JobView]) -> dict[str, Any]:
    made = opened.invocation
    return {
        "invocation": made.id,
        "created": made.created,
        "executor": made.executor,
        "spec": made.source,
        "run_dir": str(made.run_dir),
        "results": str(made.run_dir / "results.json"),
        "report": str(made.run_dir / "report.html"),
        "supervisor_log": _supervisor_log(opened),
        "repository": made.plan.context.repository,
        "commit": made.plan.context.commit,
        "jobs": [
            {
                "job_id": f"{made.id}.{view.job.index}",
                "task": view.job.name,
                "key": str(view.job.key),
                "harness": view.job.harness,
                "image": view.job.image,
                "attempt": view.attempt.number if view.attempt else 0,
                "backend_id": view.attempt.backend_id if view.attempt else None,
                "artifacts": str(made.job_dir(view.job) / "artifacts"),
                "logs": str(made.job_dir(view.job) / "logs"),
                "there": _there(opened, view),
            }
            for view in views
        ],
    }


def _supervisor_log(opened: Session) -> str | None:
    """Return the path of the supervisor's log if the executor has a supervisor on this machine."""
    from nel_action.executors.interface import Supervising

    executor = opened.executor
    return str(executor.supervisor_log(opened.invocation.id)) if isinstance(executor, Supervising) else None


def _there(opened: Session, view: JobView) -> dict[str, str] | None:
    """Return where the newest attempt's things lie on its backend, where that is elsewhere."""
    from nel_action.executors.interface import Describing

    if view.attempt is None or not view.attempt.backend_id or not isinstance(opened.executor, Describing):
        return None
    try:
        return dict(opened.executor.describe(view.attempt.backend_attempt))
    except NelActionError as error:
        return {"not known": error.problems[0].message}


def _text(facts: Mapping[str, Any]) -> str:
    lines = [f"{name}: {value}" for name, value in facts.items() if name != "jobs" and value is not None]
    for job in facts["jobs"]:
        lines.append("")
        lines += [f"  {name}: {value}" for name, value in job.items() if name != "there" and value is not None]
        lines += [f"  there: {name}: {value}" for name, value in (job["there"] or {}).items()]
    return "\n".join(lines)


def _list_files(opened: Session, views: Sequence[JobView], kinds: Sequence[str]) -> None:
    """Print a job's folders and what lies in them; a folder that is not here yet is said to be so."""
    for view in views:
        for kind in kinds:
            folder = opened.invocation.job_dir(view.job) / kind
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            click.echo(f"{view.job.name}: {folder}" + ("" if files else "  (not here; --copy-… brings it)"))
            for path in files:
                # NOTE: names come from the job; a terminal must not obey them.
                name = "".join(char if char.isprintable() else "?" for char in str(path.relative_to(folder)))
                click.echo(f"  {name}  {path.stat().st_size:,} bytes")


def _copy(opened: Session, views: Sequence[JobView], copies: Mapping[str, Path]) -> bool:
    """Fetch what jobs left from where they ran, also while they run; tell whether each gave something."""
    import shutil
    from tempfile import TemporaryDirectory

    whole = True
    for view in views:
        if view.attempt is None or view.attempt.backend_id is None:
            click.echo(f"{view.job.name}: not submitted yet", err=True)
            whole = False
            continue
        with TemporaryDirectory() as scratch:
            opened.executor.collect(view.attempt.backend_attempt, Path(scratch))
            for kind, into in copies.items():
                place = into / f"{opened.invocation.id}.{view.job.index}"
                (Path(scratch) / kind).mkdir(exist_ok=True)
                shutil.copytree(Path(scratch) / kind, place, dirs_exist_ok=True, symlinks=True)
                click.echo(f"{view.job.name}: {kind} → {place}")
    return whole
