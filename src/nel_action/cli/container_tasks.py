"""Asking a container which benchmarks it holds: the `framework.yml` files that its packages bring."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import click

from nel_action.catalog.convert import annotate, from_frameworks
from nel_action.catalog.lookup import CatalogTask, entries
from nel_action.errors import ExecutorError, NotFoundError
from nel_action.executors.local.docker.engine import engine, plain

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

__all__ = ["listing_of", "tasks_of"]

LIST_THEM: Final = """
import json, pathlib, core_evals
files = [f for d in core_evals.__path__ for f in sorted(pathlib.Path(d).glob("*/framework.yml"))]
print(json.dumps([f.read_text() for f in files]))
"""

LIMITS: Final[dict[str, Any]] = {
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "1g",
    "pids_limit": 64,
}
"""The image is not ours: it may say what it holds, and do nothing else."""


def tasks_of(reference: str) -> tuple[CatalogTask, ...]:
    """Return the benchmarks of an image, which is pulled where it is not here.

    Raises:
        EngineError: there is no Docker engine, or it refused.
        NotFoundError: there is no such image.
        ExecutorError: the image does not keep the nemo-evaluator contract.
    """
    return entries(annotate(listing_of(reference)))


def listing_of(reference: str) -> dict[str, Any]:
    """Return what an image says it holds, as the catalog's data.

    Raises:
        EngineError, NotFoundError, ExecutorError: as `tasks_of`.
    """
    import yaml

    with engine(os.environ) as client:
        image = _image(client, reference)
        texts = _frameworks(client, image, reference)
    digests = [text.partition("@")[2] for text in image.attrs.get("RepoDigests") or ()]
    loaded = [yaml.safe_load(text) for text in texts]
    return from_frameworks(loaded, container=reference, digest=digests[0] if digests else None)


def _image(client: DockerClient, reference: str) -> Image:
    from docker.errors import APIError, ImageNotFound

    try:
        return client.images.get(reference)
    except ImageNotFound:
        click.echo(f"pulling {reference} …", err=True)
    try:
        client.images.pull(reference)
        return client.images.get(reference)
    except APIError as error:
        msg = f"cannot pull {reference}: {plain(error)}"
        raise NotFoundError(msg, hint="check its name, and `docker login` to its registry") from error


def _frameworks(client: DockerClient, image: Image, reference: str) -> list[str]:
    from docker.errors import APIError, ContainerError

    try:
        said = client.containers.run(image, ["python", "-c", LIST_THEM], entrypoint=[], remove=True, **LIMITS)
        return [str(text) for text in json.loads(said)]
    except (ContainerError, APIError, ValueError) as error:
        msg = f"{reference} does not list its tasks"
        hint = "it needs Python and packages in `core_evals`, as nemo-evaluator containers have them"
        raise ExecutorError(msg, hint=hint) from error
