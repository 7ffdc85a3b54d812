"""`nel-action info`."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from nel_action.cli.common import session

__all__ = ["info"]


@click.command()
@click.argument("invocation")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(*, invocation: str, as_json: bool) -> int:
    """Show where everything of INVOCATION lies."""
    with session(invocation) as opened:
        made = opened.invocation
        facts = {
            "invocation": made.id,
            "created": made.created,
            "executor": made.executor,
            "spec": made.source,
            "run_dir": str(made.run_dir),
            "results": str(made.run_dir / "results.json"),
            "report": str(made.run_dir / "report.html"),
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
                }
                for view in opened.views()
            ],
        }
    click.echo(json.dumps(facts, indent=2) if as_json else _text(facts))
    return 0


def _text(facts: Mapping[str, object]) -> str:
    lines = [f"{name}: {value}" for name, value in facts.items() if name != "jobs" and value is not None]
    jobs = facts["jobs"]
    for job in jobs if isinstance(jobs, list) else []:
        lines.append("")
        lines += [f"  {name}: {value}" for name, value in job.items() if value is not None]
    return "\n".join(lines)
