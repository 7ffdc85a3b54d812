"""Base class of the built-in server types, and the functions that they share."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import ServedDeployment

__all__ = [
    "BuiltInServer",
    "check_image",
    "check_model",
    "check_model_name",
    "expand",
    "extra_arguments",
    "model_path_or_handle",
    "split",
]

Settings = TypeVar("Settings", bound=ServedDeployment)


class BuiltInServer(ABC, Generic[Settings]):
    """A server whose command line is built from settings, unless the spec contains one."""

    type: str
    """The value of `deployment.type`."""
    settings: ClassVar[Any]
    """The model of the deployment's settings."""

    def check(self, deployment: ServedDeployment) -> Sequence[Problem]:
        """Return missing and contradictory settings."""
        problems = list(_check_quotes(deployment))
        return problems or list(self.check_settings(self._settings(deployment)))

    def requirements(self, deployment: ServedDeployment) -> Sequence[str]:  # noqa: ARG002 - of the protocol
        """Return nothing: the program is part of the image or installed on the machine."""
        return ()

    def command(self, deployment: ServedDeployment, binding: ServeBinding) -> ServeCommand:
        """Return the command line of the spec, or build one."""
        argv = self.configured_command(deployment, binding)
        return self.build(self._settings(deployment), binding) if argv is None else ServeCommand(argv=argv)

    def route(self, deployment: ServedDeployment, endpoint_type: EndpointType) -> str:
        """Return the URL path for a type of request; empty if the server has none."""
        routes = deployment.endpoints
        match endpoint_type:
            case EndpointType.CHAT | EndpointType.VLM:
                path = routes.chat
            case EndpointType.COMPLETIONS | EndpointType.COMPLETIONS_LOGPROBS:
                path = routes.completions
            case EndpointType.EMBEDDING:
                path = routes.embedding
        return path or ""

    def configured_command(self, deployment: ServedDeployment, binding: ServeBinding) -> tuple[str, ...] | None:
        """Return the command line of the spec, or None if it contains none."""
        return None if deployment.command is None else expand(split(deployment.command), binding)

    @abstractmethod
    def check_settings(self, deployment: Settings) -> Iterator[Problem]:
        """Yield missing and contradictory settings of this type."""

    @abstractmethod
    def build(self, deployment: Settings, binding: ServeBinding) -> ServeCommand:
        """Build the command line from the settings."""

    def _settings(self, deployment: ServedDeployment) -> Settings:
        """Narrow the type of the settings.

        Raises:
            TypeError: they are the settings of another type of server.
        """
        if not isinstance(deployment, self.settings):
            msg = f"server type {self.type} received the settings of {deployment.type}"
            raise TypeError(msg)
        return cast("Settings", deployment)


def split(command: str | tuple[str, ...]) -> tuple[str, ...]:
    """Split a command line like a shell does; return a list of arguments unchanged.

    Raises:
        ValueError: a quote is not closed.
    """
    return tuple(shlex.split(command)) if isinstance(command, str) else command


def extra_arguments(deployment: ServedDeployment) -> tuple[str, ...]:
    """Return the arguments in `extra_args`."""
    return split(deployment.extra_args)


def expand(argv: tuple[str, ...], binding: ServeBinding) -> tuple[str, ...]:
    """Replace `{host}`, `{port}`, `{checkpoint}` and `{work_dir}`; other braces are kept."""
    values = {
        "{host}": binding.host,
        "{port}": str(binding.port),
        "{checkpoint}": str(binding.checkpoint or ""),
        "{work_dir}": str(binding.work_dir),
    }
    expanded = []
    for argument in argv:
        for placeholder, value in values.items():
            argument = argument.replace(placeholder, value)  # noqa: PLW2901 - one replacement after another
        expanded.append(argument)
    return tuple(expanded)


def model_path_or_handle(deployment: ServedDeployment, binding: ServeBinding) -> str:
    """Return the model that the server loads: its name on the hub, or the path of the checkpoint."""
    if deployment.hf_model_handle:
        return deployment.hf_model_handle
    return str(binding.checkpoint or deployment.checkpoint_path or "")


def _check_quotes(deployment: ServedDeployment) -> Iterator[Problem]:
    """Yield a problem for each command line that cannot be split."""
    for key in ("command", "extra_args", "base_command"):
        text = getattr(deployment, key, None)
        try:
            split(text or ())
        except ValueError as error:
            yield Problem(f"deployment.{key} cannot be split into arguments: {error}", hint="close the quotes")


def check_model(deployment: ServedDeployment) -> Iterator[Problem]:
    """Yield problems of a deployment without a model, with two models, or without the model's name in requests."""
    if deployment.command is None and not deployment.hf_model_handle and not deployment.checkpoint_path:
        hint = "set deployment.checkpoint_path or deployment.hf_model_handle"
        yield Problem(f"deployment {deployment.type} has no model", hint=hint)
    if deployment.hf_model_handle and deployment.checkpoint_path:
        hint = "set one of them to null"
        yield Problem("deployment.checkpoint_path and deployment.hf_model_handle are both set", hint=hint)
    yield from check_model_name(deployment)


def check_model_name(deployment: ServedDeployment) -> Iterator[Problem]:
    """Yield a problem if the model has no name for requests."""
    if not deployment.served_model_name:
        yield Problem("deployment.served_model_name is missing", hint="set it to the model's name in requests")


def check_image(deployment: ServedDeployment) -> Iterator[Problem]:
    """Yield a problem if a server that runs in a container has no image."""
    if not deployment.image and deployment.runtime != "process":
        yield Problem(f"deployment {deployment.type} has no image", hint="set deployment.image")
