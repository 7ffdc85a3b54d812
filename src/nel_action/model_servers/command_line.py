"""What servers share: splitting command lines without a shell, and naming the model and the route."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.model_servers.interface import ServeBinding
from nel_action.spec.deployment import ServedDeployment

__all__ = [
    "common_problems",
    "extra_words",
    "fill",
    "model_of",
    "needs_image",
    "needs_model",
    "route_of",
    "split",
    "user_command",
]


def split(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Split a command line into words as a shell would; a list is taken as it is.

    Raises:
        ValueError: a quote is not closed.
    """
    return tuple(shlex.split(text)) if isinstance(text, str) else text


def extra_words(deployment: ServedDeployment) -> tuple[str, ...]:
    """Return the words of `extra_args`."""
    return split(deployment.extra_args)


def user_command(deployment: ServedDeployment, binding: ServeBinding) -> tuple[str, ...] | None:
    """Return the user's own command line, with what is known only here filled in; None where there is none."""
    if deployment.command is None:
        return None
    return fill(split(deployment.command), binding)


def fill(words: tuple[str, ...], binding: ServeBinding) -> tuple[str, ...]:
    """Replace `{host}`, `{port}`, `{checkpoint}` and `{work_dir}`; other braces stay as they are."""
    known = {
        "{host}": binding.host,
        "{port}": str(binding.port),
        "{checkpoint}": str(binding.checkpoint or ""),
        "{work_dir}": str(binding.work_dir),
    }
    filled = []
    for word in words:
        for name, value in known.items():
            word = word.replace(name, value)  # noqa: PLW2901 - one replacement after the other
        filled.append(word)
    return tuple(filled)


def model_of(deployment: ServedDeployment, binding: ServeBinding) -> str:
    """Return what the server loads: a name on the hub, or the checkpoint where the server sees it."""
    if deployment.hf_model_handle:
        return deployment.hf_model_handle
    return str(binding.checkpoint or deployment.checkpoint_path or "")


def common_problems(deployment: ServedDeployment) -> Iterator[Problem]:
    """Find command lines that cannot be split."""
    for key in ("command", "extra_args", "base_command"):
        text = getattr(deployment, key, None)
        try:
            split(text or ())
        except ValueError as error:
            yield Problem(f"deployment.{key} cannot be split into words: {error}", None, "close the quotes")


def needs_model(deployment: ServedDeployment) -> Iterator[Problem]:
    """Find a deployment that names no model, or two, or none that requests could ask for."""
    if deployment.command is None and not deployment.hf_model_handle and not deployment.checkpoint_path:
        hint = "write deployment.checkpoint_path, or deployment.hf_model_handle"
        yield Problem(f"deployment {deployment.type} names no model", None, hint)
    if deployment.hf_model_handle and deployment.checkpoint_path:
        hint = "write one of them, and null for the other"
        yield Problem("deployment.checkpoint_path and deployment.hf_model_handle are both given", None, hint)
    if not deployment.served_model_name:
        yield Problem("deployment.served_model_name is missing", None, "it is the model's name in requests")


def needs_image(deployment: ServedDeployment) -> Iterator[Problem]:
    """Find a deployment that brings its program in an image, and has none."""
    if not deployment.image and deployment.runtime != "process":
        yield Problem(f"deployment {deployment.type} has no image", None, "write deployment.image")


def route_of(deployment: ServedDeployment, endpoint_type: EndpointType) -> str:
    """Return the path of the route for a kind of request."""
    routes = deployment.endpoints
    match endpoint_type:
        case EndpointType.CHAT | EndpointType.VLM:
            path = routes.chat
        case EndpointType.COMPLETIONS | EndpointType.COMPLETIONS_LOGPROBS:
            path = routes.completions
        case EndpointType.EMBEDDING:
            path = routes.embedding
    return path or ""
