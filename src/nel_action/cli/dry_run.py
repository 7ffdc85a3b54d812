"""Output of `run --dry-run`: the resolved spec, the plan and the exact scripts; no secrets, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from nel_action.executors.interface import Executor
from nel_action.formatting import cost, count, plural
from nel_action.planning.jobs import Job, Limits, Plan

if TYPE_CHECKING:
    from nel_action.lifecycle.prepare import Prepared

__all__ = ["show"]

_UNRESOLVED: Final = " (of the image's tag; a run resolves its digest first, which changes the key)"


def show(prepared: Prepared, home: Path) -> None:
    """Print the resolved spec, each job with its scripts, the scripts of the plan, and an estimate of its cost.

    Args:
        prepared: the plan and its executor.
        home: `$NEL_ACTION_HOME`, from which earlier runs are read.
    """
    import yaml

    click.secho("# resolved spec", bold=True)
    click.echo(yaml.safe_dump(dict(prepared.loaded.resolved), sort_keys=False, allow_unicode=True).rstrip())
    for job in prepared.plan.jobs:
        _print_job(prepared.executor, job)
    for name, text in prepared.executor.plan_scripts(prepared.plan).items():
        _print_script(name, text)
    click.echo(f"\n# {_estimate(prepared.plan, home)}")
    jobs = plural(len(prepared.plan.jobs), "job")
    click.echo(f"\n{jobs}; nothing was written or started (dry run)", err=True)


def _print_job(executor: Executor, job: Job) -> None:
    click.secho(f"\n# job {job.index}: {job.name}", bold=True)
    fields = {
        "key": job.key + (_UNRESOLVED if job.image and not job.image_digest and "@" not in job.image else ""),
        "harness": job.harness,
        "model": job.model,
        "endpoint": job.target.api_endpoint.url or f"served by {job.deployment.type}",
        "image": job.image and (job.image if not job.image_digest else f"{job.image} ({job.image_digest})"),
        "variables": ", ".join(f"{name} from {reference}" for name, reference in job.env.items()),
        "time limit": f"{job.timeout:g} s",
        "budget": _budget(job.limits),
        "rates": _rates(job.limits),
    }
    for name, value in fields.items():
        if value:
            click.echo(f"#   {name}: {value}")
    for name, text in executor.scripts(job, 1).items():
        _print_script(f"{job.name}/{name}", text)


def _print_script(name: str, text: str) -> None:
    click.secho(f"\n## {name}", bold=True)
    click.echo(text.rstrip())


def _budget(limits: Limits) -> str:
    """Return the share of a job in the budgets."""
    units = {"requests": "requests", "tokens": "tokens"}
    parts = [f"{count(limits.budget[name])} {unit}" for name, unit in units.items() if name in limits.budget]
    return ", ".join([*parts, *([cost(limits.budget["cost"])] if "cost" in limits.budget else [])])


def _rates(limits: Limits) -> str:
    """Return the share of a job in the rates."""
    rates = {
        "requests per minute": limits.requests_per_minute,
        "tokens per minute": limits.tokens_per_minute,
        "requests at once": limits.max_concurrency,
    }
    return ", ".join(f"{value:,.6g} {name}" for name, value in rates.items() if value is not None)


def _estimate(plan: Plan, home: Path) -> str:
    from nel_action.driver.estimate import describe, estimate

    expected = estimate(plan, home)
    if not expected.sources:
        return "estimate: none, no earlier run of these tasks on this machine has token counts"
    dollars = cost(expected.cost_usd) if expected.cost_usd is not None else "unknown cost (no `prices` for a model)"
    text = f"estimate: {count(expected.requests)} requests, {count(expected.tokens)} tokens, {dollars}"
    text += f", by {plural(len(expected.sources), 'earlier run')} ({describe(expected.sources)})"
    return f"{text}; without {describe(expected.missing)}, which no run measured" if expected.missing else text
