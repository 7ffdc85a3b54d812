"""Base class of the built-in server types."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.model_servers.command_line import check_quotes, configured_command, route_path
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import ServedDeployment

__all__ = ["BuiltInServer"]

Settings = TypeVar("Settings", bound=ServedDeployment)


class BuiltInServer(ABC, Generic[Settings]):
    """A server whose command line is built from settings, unless the spec contains one."""

    type: str
    """The value of `deployment.type`."""
    settings: ClassVar[Any]
    """The model of the deployment's settings."""

    def check(self, deployment: ServedDeployment) -> Sequence[Problem]:
        """Return missing and contradictory settings."""
        problems = list(check_quotes(deployment))
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
        return route_path(deployment, endpoint_type)

    def configured_command(self, deployment: ServedDeployment, binding: ServeBinding) -> tuple[str, ...] | None:
        """Return the command line of the spec, or None if it contains none."""
        return configured_command(deployment, binding)

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
