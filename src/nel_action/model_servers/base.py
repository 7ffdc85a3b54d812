"""What every server of ours does alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.model_servers.command_line import common_problems, route_of, user_command
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import ServedDeployment

__all__ = ["ModelServer"]

Settings = TypeVar("Settings", bound=ServedDeployment)


class ModelServer(ABC, Generic[Settings]):
    """A server whose command line is made from settings, unless the user wrote one."""

    type: str
    """The word in a spec's `deployment.type`."""
    settings: ClassVar[Any]
    """The model of its settings."""

    def check(self, deployment: ServedDeployment) -> Sequence[Problem]:
        """Say what is missing or contradictory."""
        problems = list(common_problems(deployment))
        return problems or list(self.problems(self._settings(deployment)))

    def requirements(self, deployment: ServedDeployment) -> Sequence[str]:  # noqa: ARG002 - of the protocol
        """Return nothing: the image or the machine brings the program."""
        return ()

    def command(self, deployment: ServedDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line; the user's own comes first."""
        words = self.written(deployment, binding)
        return self.build(self._settings(deployment), binding) if words is None else ServeCommand(argv=words)

    def route(self, deployment: ServedDeployment, endpoint_type: EndpointType) -> str:
        """Return the path of the route for that kind of request; empty where there is none."""
        return route_of(deployment, endpoint_type)

    def written(self, deployment: ServedDeployment, binding: ServeBinding) -> tuple[str, ...] | None:
        """Return the user's own command line, or None."""
        return user_command(deployment, binding)

    @abstractmethod
    def problems(self, deployment: Settings) -> Iterator[Problem]:
        """Yield what is missing or contradictory for this server."""

    @abstractmethod
    def build(self, deployment: Settings, binding: ServeBinding) -> ServeCommand:
        """Build the command line from settings."""

    def _settings(self, deployment: ServedDeployment) -> Settings:
        if not isinstance(deployment, self.settings):
            msg = f"{self.type} got the settings of {getattr(deployment, 'type', 'something else')}"
            raise TypeError(msg)
        return cast("Settings", deployment)
