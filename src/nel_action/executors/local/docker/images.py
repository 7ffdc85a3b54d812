"""Docker images: resolving references to digests, and pulling.

`python -m nel_action.executors.local.docker.images IMAGE DIGEST` pulls an image and prints the progress; DIGEST is `-`
for none.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError
from nel_action.executors.local.docker.engine import docker_client, error_text

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["find_local_image", "pull_command", "resolve_digests", "why_unavailable"]

REPORT_INTERVAL: Final = 1.0
"""Seconds between two progress lines of a pull."""


def find_local_image(client: DockerClient, reference: str, digest: str | None) -> str | None:
    """Return the ID of an image that the engine has; None if it has no image of that reference and digest.

    Args:
        client: the engine.
        reference: the image's name, with or without a tag.
        digest: digest in the registry, or the ID of an image that was only built here; None accepts any.
    """
    from docker.errors import ImageNotFound, NullResource

    for name in _lookup_names(reference, digest):
        try:
            image = client.images.get(name)
        except (ImageNotFound, NullResource):
            continue
        if digest is None or digest in {image.id, *_digests(image.attrs)}:
            return image.id
    return None


def _lookup_names(reference: str, digest: str | None) -> Iterator[str]:
    """Yield the names to look up: by digest, by reference, and the digest as the ID of a local image."""
    if digest is not None:
        yield f"{repository(reference)}@{digest}"
    yield reference
    if digest is not None:
        yield digest


def repository(reference: str) -> str:
    """Return a reference without its tag and digest."""
    name = reference.partition("@")[0]
    parent, slash, last = name.rpartition("/")
    return f"{parent}{slash}{last.partition(':')[0]}"


def _digests(attrs: Mapping[str, Any]) -> list[str]:
    return [text.partition("@")[2] for text in attrs.get("RepoDigests") or []]


def resolve_digests(client: DockerClient, references: Iterable[str], *, pull: str) -> dict[str, str]:
    """Return the digest of each reference; omit those that neither the engine nor a registry has.

    An image that was only built here has no digest in a registry; its ID is used instead.

    Args:
        client: the engine.
        references: the images.
        pull: `execution.pull`; with `always`, the registry takes precedence over the engine.
    """
    orders = {"missing": [_local_digest, _registry_digest], "always": [_registry_digest, _local_digest]}
    digests: dict[str, str] = {}
    for reference in references:
        sources = orders.get(pull, [_local_digest])
        digest = next((digest for source in sources if (digest := source(client, reference))), None)
        if digest is not None:
            digests[reference] = digest
    return digests


def _local_digest(client: DockerClient, reference: str) -> str | None:
    from docker.errors import ImageNotFound

    if "@" in reference:
        return reference.partition("@")[2]
    try:
        image = client.images.get(reference)
    except ImageNotFound:
        return None
    return next(iter(_digests(image.attrs)), image.id)


def _registry_digest(client: DockerClient, reference: str) -> str | None:
    from docker.errors import APIError

    try:
        return str(client.images.get_registry_data(reference).id)
    except APIError:
        return None


def why_unavailable(client: DockerClient, reference: str, digest: str | None, *, pull: str) -> str | None:
    """Return the reason why an image cannot be used; None if the engine or its registry has it.

    Args:
        client: the engine.
        reference: the image's name.
        digest: the required digest; None accepts any.
        pull: `execution.pull`.
    """
    from docker.errors import APIError

    if find_local_image(client, reference, digest) is not None:
        return None
    if pull == "never":
        return "it is not on this machine, and execution.pull is never"
    try:
        client.images.get_registry_data(_pinned(reference, digest))
    except APIError as error:
        return error_text(error)
    return None


def _pinned(reference: str, digest: str | None) -> str:
    return f"{repository(reference)}@{digest}" if digest else reference


def pull_command(reference: str, digest: str | None) -> tuple[str, ...]:
    """Return the command that pulls an image in a process of its own, which can be terminated at any time."""
    return (sys.executable, "-P", "-m", __name__, reference, digest or "-")


def _pull(client: DockerClient, reference: str, digest: str | None) -> None:
    name = _pinned(reference, digest)
    tag = None if "@" in name or ":" in name.rpartition("/")[2] else "latest"
    reported = 0.0
    layers: dict[str, tuple[int, int]] = {}
    for event in client.api.pull(name, tag=tag, stream=True, decode=True):
        if "error" in event:
            raise EngineError(str(event["error"]))
        _update(layers, event)
        if time.monotonic() - reported > REPORT_INTERVAL:
            reported = time.monotonic()
            _report(name, layers)


def _update(layers: dict[str, tuple[int, int]], event: Mapping[str, Any]) -> None:
    """Record the downloaded and the total bytes of a layer."""
    detail = event.get("progressDetail") or {}
    if event.get("status") == "Downloading" and detail.get("total"):
        layers[event["id"]] = (int(detail.get("current", 0)), int(detail["total"]))
    elif event.get("status") in {"Download complete", "Pull complete"} and event.get("id") in layers:
        total = layers[event["id"]][1]
        layers[event["id"]] = (total, total)


def _report(name: str, layers: Mapping[str, tuple[int, int]]) -> None:
    done, total = (sum(sizes) for sizes in zip(*layers.values(), strict=True)) if layers else (0, 0)
    progress = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else "asking the registry"
    print(f"{name}: {progress}", flush=True)  # noqa: T201 output of a program


def main(argv: Sequence[str]) -> None:
    """Pull an image."""
    reference, digest = argv
    try:
        with docker_client(os.environ) as client:
            _pull(client, reference, None if digest == "-" else digest)
    except EngineError as error:
        sys.exit(f"cannot pull {reference}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
