"""What this executor leaves out, told before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment

__all__ = ["unsupported"]


def unsupported(job: Job, image: str | None) -> list[Problem]:
    """Return what a job wants that is not done here."""
    return list(_found(job, image))


def _found(job: Job, image: str | None) -> Iterator[Problem]:
    if not (job.image or image):
        yield Problem(f"nothing says which image {job.name} runs in", hint="set execution.image")
    if not isinstance(job.deployment, NoDeployment):
        hint = "serve the model elsewhere and name it in target.api_endpoint"
        yield Problem("this executor serves no models", hint=hint)
    if job.task.task_dir or job.dataset or job.pre_cmd or job.post_cmd:
        message = f"{job.name} needs files or commands that this executor does not bring along"
        yield Problem(message, hint="put what the task needs into the image")
    for name, reference in job.env.items():
        if reference.runtime_name is not None:
            yield Problem(f"{name}: runtime: means nothing here", hint=f"write {name}: host:NAME or lit:VALUE")
