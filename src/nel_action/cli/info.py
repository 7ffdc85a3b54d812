"""`nel-action info`: show or copy the files of invocations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nel_action.cli.common import select_jobs, session
from nel_action.errors import ExitCode, NelActionError
from nel_action.model.run_files import JobFiles, RunFiles

if TYPE_CHECKING:
    from nel_action.lifecycle.session import JobView, Session

__all__ = ["info"]


@click.command()
@click.argument("invocations", nargs=-1, required=True)
@click.option("--config", is_flag=True, help="Print the resolved spec.")
@click.option("--artifacts", is_flag=True, help="List the files of each job's harness.")
@click.option("--logs", is_flag=True, help="List the logs of each job.")
@click.option(
    "--copy-artifacts",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=".",
    metavar="[DIR]",
    help="Fetch these files into DIR, by default this directory.",
)
@click.option(
    "--copy-logs",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=".",
    metavar="[DIR]",
    help="Fetch the logs into DIR, by default this directory.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
    """Show the files and locations of INVOCATIONS; `<invocation>.<n>` selects one job."""
    targets = {
        kind: target
        for kind, target in ((JobFiles.ARTIFACTS, copy_artifacts), (JobFiles.LOGS, copy_logs))
        if target is not None
    }
    kinds = [kind for kind, listed in ((JobFiles.ARTIFACTS, artifacts), (JobFiles.LOGS, logs)) if listed]
    records, complete = [], True
    for name in invocations:
        with session(name) as opened:
            views = select_jobs(opened, name)
            if targets:
                complete &= _copy(opened, views, targets)
            elif config:
                click.echo(RunFiles(opened.invocation.run_dir).spec.read_text(encoding="utf-8").rstrip())
            elif kinds:
                _list_files(opened, views, kinds)
            else:
                records.append(_record(opened, views))
    if records and as_json:
        click.echo(json.dumps(records if len(records) > 1 else records[0], indent=2))
    elif records:
        click.echo("\n\n".join(_text(record) for record in records))
    return ExitCode.PASS if complete else ExitCode.UNMEASURABLE


def _record(opened: Session, views: Sequence[JobView]) -> dict[str, Any]:
    invocation = opened.invocation
    files = RunFiles(invocation.run_dir)
    return {
        "invocation": invocation.id,
        "created": invocation.created,
        "executor": invocation.executor,
        "spec": invocation.source,
        "run_dir": str(files.root),
        "results": str(files.results),
        "report": str(files.report_html),
        "supervisor_log": _supervisor_log(opened),
        "repository": invocation.plan.context.repository,
        "commit": invocation.plan.context.commit,
        "commit_source": invocation.plan.context.commit_source,
        "jobs": [
            {
                "job_id": f"{invocation.id}.{view.job.index}",
                "task": view.job.name,
                "key": str(view.job.key),
                "harness": view.job.harness,
                "image": view.job.image,
                "attempt": view.attempt.number if view.attempt else 0,
                "backend_id": view.attempt.backend_id if view.attempt else None,
                "artifacts": str(files.job(view.job.name).artifacts),
                "logs": str(files.job(view.job.name).logs),
                "there": _backend_locations(opened, view),
            }
            for view in views
        ],
    }


def _supervisor_log(opened: Session) -> str | None:
    """Return the path of the supervisor's log if the executor has a supervisor on this machine."""
    from nel_action.executors.interface import Supervising

    executor = opened.executor
    return str(executor.supervisor_log(opened.invocation.id)) if isinstance(executor, Supervising) else None


def _backend_locations(opened: Session, view: JobView) -> dict[str, str] | None:
    """Return the locations of the newest attempt on its backend; None if the executor has none of its own."""
    from nel_action.executors.interface import Describing

    if view.attempt is None or not view.attempt.backend_id or not isinstance(opened.executor, Describing):
        return None
    try:
        return dict(opened.executor.describe(view.attempt.backend_attempt))
    except NelActionError as error:
        return {"unknown": error.problems[0].message}


def _text(record: Mapping[str, Any]) -> str:
    from nel_action.report.text_table import render_fields

    parts = [render_fields({name: value for name, value in record.items() if name != "jobs"})]
    for job in record["jobs"]:
        locations = {f"backend {name}": value for name, value in (job["there"] or {}).items()}
        fields = {name: value for name, value in job.items() if name != "there"} | locations
        parts.append(render_fields(fields, indent=2))
    return "\n\n".join(parts)


def _list_files(opened: Session, views: Sequence[JobView], kinds: Sequence[str]) -> None:
    """Print the folders of each job with their files and sizes."""
    from nel_action.formatting import file_size
    from nel_action.report.text_table import Column, render_table

    columns = [Column(header="file"), Column(header="size", right=True)]
    for view in views:
        for kind in kinds:
            folder = opened.invocation.job_dir(view.job) / kind
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            click.echo(f"{view.job.name}: {folder}" + ("" if files else f"  (empty; fetch with --copy-{kind} DIR)"))
            rows = [(f"  {path.relative_to(folder)}", file_size(path.stat().st_size)) for path in files]
            if rows:
                click.echo(render_table(columns, rows, header=False))


def _copy(opened: Session, views: Sequence[JobView], targets: Mapping[str, Path]) -> bool:
    """Fetch the files of jobs from where they run, even while they run; return whether all jobs have files."""
    import shutil
    from tempfile import TemporaryDirectory

    complete = True
    for view in views:
        if view.attempt is None or view.attempt.backend_id is None:
            click.echo(f"{view.job.name}: not submitted yet", err=True)
            complete = False
            continue
        with TemporaryDirectory() as scratch:
            opened.executor.collect(view.attempt.backend_attempt, Path(scratch))
            for kind, target in targets.items():
                source, folder = Path(scratch) / kind, target / f"{opened.invocation.id}.{view.job.index}"
                source.mkdir(exist_ok=True)
                shutil.copytree(source, folder, dirs_exist_ok=True, symlinks=True)
                click.echo(f"{view.job.name}: {kind} → {folder}")
    return complete
