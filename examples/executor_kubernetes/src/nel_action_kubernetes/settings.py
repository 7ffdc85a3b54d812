"""The `execution` section of a spec, and the features that this executor does not support."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from nel_action.errors import Problem, SpecError
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.execution import ExecutionBase

__all__ = ["KubernetesExecution", "parse_settings", "unsupported_features"]


class KubernetesExecution(ExecutionBase):
    """A namespace of a cluster."""

    type: str = "kubernetes"
    """The executor."""
    namespace: str = "default"
    """Namespace of the Jobs."""
    kubeconfig: str | None = None
    """File with the cluster's address; by default `KUBECONFIG` and the usual locations."""
    context: str | None = None
    """Context of that file."""
    service_account: str | None = None
    """Service account of the pods."""
    image: str | None = None
    """Image for harnesses without one; every image needs `sh`, `tar`, `base64` and `sha256sum`."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets of the namespace with registry credentials."""
    resources: dict[str, dict[str, str]] = {}  # noqa: RUF012 - pydantic copies the default
    """`requests` and `limits` of the harness's container."""
    keep: int = 7 * 24 * 3600
    """Seconds for which a finished Job and its results stay on the cluster."""


def parse_settings(execution: ExecutionBase) -> KubernetesExecution:
    """Validate the settings of a spec, which nel-action passes to a plug-in unchecked.

    Raises:
        SpecError: all problems.
    """
    try:
        return KubernetesExecution.model_validate(execution.model_dump())
    except ValidationError as error:
        problems = [Problem(f"execution.{'.'.join(map(str, each['loc']))}: {each['msg']}") for each in error.errors()]
        raise SpecError(problems) from None


def unsupported_features(job: Job, default_image: str | None) -> list[Problem]:
    """Return a problem for each feature of a job that this executor does not support."""
    return list(_unsupported(job, default_image))


def _unsupported(job: Job, default_image: str | None) -> Iterator[Problem]:
    if not (job.image or default_image):
        yield Problem(f"{job.name}: no container image", hint="set execution.image")
    if not isinstance(job.deployment, NoDeployment):
        hint = "serve the model elsewhere and set target.api_endpoint"
        yield Problem("this executor does not serve models", hint=hint)
    if job.task.task_dir or job.dataset or job.pre_cmd or job.post_cmd:
        message = f"{job.name}: this executor does not support task directories, datasets, pre_cmd or post_cmd"
        yield Problem(message, hint="put the task's files into the image")
    for name, reference in job.env.items():
        if reference.runtime_name is not None:
            message = f"{name}: this executor does not support runtime: references"
            yield Problem(message, hint=f"write {name}: host:NAME or lit:VALUE")
