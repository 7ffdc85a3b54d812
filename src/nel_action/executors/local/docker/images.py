"""Images: which one a reference stands for here, and getting it.

`python -m nel_action.executors.local.docker.images IMAGE DIGEST` pulls it (`-` for no digest) and says how far it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError
from nel_action.executors.local.docker.engine import engine, plain

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["local_image", "missing", "pull_command", "resolve"]

SAY_EVERY: Final = 1.0
"""Seconds between two lines about a pull."""


def local_image(client: DockerClient, reference: str, digest: str | None) -> str | None:
    """Return the id of the image that the engine has for that reference and digest; None where it has none."""
    from docker.errors import ImageNotFound, NullResource

    for name in _names(reference, digest):
        try:
            image = client.images.get(name)
        except (ImageNotFound, NullResource):
            continue
        if digest is None or digest in {image.id, *_digests(image.attrs)}:
            return image.id
    return None


def _names(reference: str, digest: str | None) -> Iterator[str]:
    """Yield what to ask for: the digest under its name, the reference, and the digest as an image's own id."""
    if digest is not None:
        yield f"{repository(reference)}@{digest}"
    yield reference
    if digest is not None:
        yield digest


def repository(reference: str) -> str:
    """Return a reference without its tag and digest."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _digests(attrs: Mapping[str, Any]) -> list[str]:
    return [text.partition("@")[2] for text in attrs.get("RepoDigests") or []]


def resolve(client: DockerClient, references: Iterable[str], *, pull: str) -> dict[str, str]:
    """Return the digest that each reference stands for; what can be found neither here nor in a registry is left out.

    The registry is asked first where the image would be pulled anyway. An image that was only built here has no
    digest in a registry; its own id stands for it.
    """
    found: dict[str, str] = {}
    for reference in references:
        sources = [_here, _in_registry] if pull == "missing" else [_in_registry, _here] if pull == "always" else [_here]
        digest = next((digest for source in sources if (digest := source(client, reference))), None)
        if digest is not None:
            found[reference] = digest
    return found


def _here(client: DockerClient, reference: str) -> str | None:
    from docker.errors import ImageNotFound

    if "@" in reference:
        return reference.partition("@")[2]
    try:
        image = client.images.get(reference)
    except ImageNotFound:
        return None
    return next(iter(_digests(image.attrs)), image.id)


def _in_registry(client: DockerClient, reference: str) -> str | None:
    from docker.errors import APIError

    try:
        return str(client.images.get_registry_data(reference).id)
    except APIError:
        return None


def missing(client: DockerClient, reference: str, digest: str | None, *, pull: str) -> str | None:
    """Say why an image cannot be had; None where it is here or its registry has it."""
    from docker.errors import APIError

    if local_image(client, reference, digest) is not None:
        return None
    if pull == "never":
        return "it is not on this machine, and execution.pull is never"
    try:
        client.images.get_registry_data(_pinned(reference, digest))
    except APIError as error:
        return plain(error)
    return None


def _pinned(reference: str, digest: str | None) -> str:
    return f"{repository(reference)}@{digest}" if digest else reference


def pull_command(reference: str, digest: str | None) -> tuple[str, ...]:
    """Return the words that pull an image as a program of its own, which can be ended at any time."""
    return (sys.executable, "-P", "-m", __name__, reference, digest or "-")


def _pull(client: DockerClient, reference: str, digest: str | None) -> None:
    name = _pinned(reference, digest)
    tag = None if "@" in name or ":" in name.rpartition("/")[2] else "latest"
    said = 0.0
    layers: dict[str, tuple[int, int]] = {}
    for event in client.api.pull(name, tag=tag, stream=True, decode=True):
        if "error" in event:
            raise EngineError(str(event["error"]))
        _note(layers, event)
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            _say(name, layers)


def _note(layers: dict[str, tuple[int, int]], event: Mapping[str, Any]) -> None:
    """Keep how many bytes of each layer have come."""
    detail = event.get("progressDetail") or {}
    if event.get("status") == "Downloading" and detail.get("total"):
        layers[event["id"]] = (int(detail.get("current", 0)), int(detail["total"]))
    elif event.get("status") in {"Download complete", "Pull complete"} and event.get("id") in layers:
        total = layers[event["id"]][1]
        layers[event["id"]] = (total, total)


def _say(name: str, layers: Mapping[str, tuple[int, int]]) -> None:
    done, total = (sum(sizes) for sizes in zip(*layers.values(), strict=True)) if layers else (0, 0)
    share = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else "asking the registry"
    print(f"{name}: {share}", flush=True)  # noqa: T201 this is a program's output


def main(argv: Sequence[str]) -> None:
    """Pull an image."""
    reference, digest = argv
    try:
        with engine(os.environ) as client:
            _pull(client, reference, None if digest == "-" else digest)
    except EngineError as error:
        sys.exit(f"cannot pull {reference}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
