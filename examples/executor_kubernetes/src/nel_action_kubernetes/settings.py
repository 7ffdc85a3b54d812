"""What stands under `execution` in a spec."""

from __future__ import annotations

from pydantic import ValidationError

from nel_action.errors import Problem, SpecError
from nel_action.spec.execution import ExecutionBase

__all__ = ["KubernetesExecution", "read_settings"]


class KubernetesExecution(ExecutionBase):
    """A namespace of a cluster."""

    type: str = "kubernetes"
    """The executor."""
    namespace: str = "default"
    """Where Jobs go."""
    kubeconfig: str | None = None
    """File that says how to reach the cluster; `KUBECONFIG` and the usual places where it is not given."""
    context: str | None = None
    """Context of that file."""
    service_account: str | None = None
    """Account that pods run under."""
    image: str | None = None
    """Image of harnesses that name none; it needs `sh`, `tar`, `base64` and `sha256sum`, as all need."""
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets of the namespace that hold registry credentials."""
    resources: dict[str, dict[str, str]] = {}  # noqa: RUF012 pydantic copies a default
    """`requests` and `limits` of a harness."""
    keep: int = 7 * 24 * 3600
    """Seconds that a finished Job and its results stay on the cluster."""


def read_settings(given: ExecutionBase) -> KubernetesExecution:
    """Hold what a spec says against our own model: a plug-in's settings reach it unchecked.

    Raises:
        SpecError: all that is wrong with them.
    """
    try:
        return KubernetesExecution.model_validate(given.model_dump())
    except ValidationError as error:
        raise SpecError(
            [Problem(f"execution.{'.'.join(map(str, each['loc']))}: {each['msg']}") for each in error.errors()]
        ) from None
