"""Output of `run --dry-run`: the resolved spec, the plan and the exact scripts; no secrets, and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nel_action.executors.interface import Executor
from nel_action.planning.jobs import Job

if TYPE_CHECKING:
    from nel_action.lifecycle.prepare import Prepared

__all__ = ["show"]


def show(prepared: Prepared) -> None:
    """Print the resolved spec, each job with its scripts, and the scripts of the plan."""
    import yaml

    click.secho("# resolved spec", bold=True)
    click.echo(yaml.safe_dump(dict(prepared.loaded.resolved), sort_keys=False, allow_unicode=True).rstrip())
    for job in prepared.plan.jobs:
        _print_job(prepared.executor, job)
    for name, text in prepared.executor.plan_scripts(prepared.plan).items():
        _print_script(name, text)
    count = len(prepared.plan.jobs)
    click.echo(f"\n{count} job{'s' if count != 1 else ''}; nothing was written or started (dry run)", err=True)


def _print_job(executor: Executor, job: Job) -> None:
    click.secho(f"\n# job {job.index}: {job.name}", bold=True)
    fields = {
        "key": job.key,
        "harness": job.harness,
        "model": job.model,
        "endpoint": job.target.api_endpoint.url or f"served by {job.deployment.type}",
        "image": job.image and (job.image if not job.image_digest else f"{job.image} ({job.image_digest})"),
        "variables": ", ".join(f"{name} from {reference}" for name, reference in job.env.items()),
        "time limit": f"{job.timeout:g} s",
    }
    for name, value in fields.items():
        if value:
            click.echo(f"#   {name}: {value}")
    for name, text in executor.scripts(job, 1).items():
        _print_script(f"{job.name}/{name}", text)


def _print_script(name: str, text: str) -> None:
    click.secho(f"\n## {name}", bold=True)
    click.echo(text.rstrip())
