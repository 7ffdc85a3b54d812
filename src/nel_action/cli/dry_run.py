"""What `run --dry-run` shows: the resolved spec, the plan, the exact scripts. No secret, nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nel_action.executors.interface import Executor
from nel_action.planning.jobs import Job

if TYPE_CHECKING:
    from nel_action.lifecycle.prepare import Prepared

__all__ = ["show"]


def show(prepared: Prepared) -> None:
    """Print it all."""
    import yaml

    click.secho("# resolved spec", bold=True)
    click.echo(yaml.safe_dump(dict(prepared.loaded.resolved), sort_keys=False, allow_unicode=True).rstrip())
    for job in prepared.plan.jobs:
        _job(prepared.executor, job)
    for file, text in prepared.executor.plan_scripts(prepared.plan).items():
        click.secho(f"\n## {file}", bold=True)
        click.echo(text.rstrip())
    count = len(prepared.plan.jobs)
    click.echo(f"\n{count} job{'s' if count != 1 else ''}; nothing was written or started (dry run)", err=True)


def _job(executor: Executor, job: Job) -> None:
    click.secho(f"\n# job {job.index}: {job.name}", bold=True)
    facts = {
        "key": job.key,
        "harness": job.harness,
        "model": job.model,
        "endpoint": job.target.api_endpoint.url or f"served by {job.deployment.type}",
        "image": job.image and (job.image if not job.image_digest else f"{job.image} ({job.image_digest})"),
        "variables": ", ".join(f"{name} from {reference}" for name, reference in job.env.items()),
        "time limit": f"{job.timeout:g} s",
    }
    for name, value in facts.items():
        if value:
            click.echo(f"#   {name}: {value}")
    for file, text in executor.scripts(job, 1).items():
        click.secho(f"\n## {job.name}/{file}", bold=True)
        click.echo(text.rstrip())
