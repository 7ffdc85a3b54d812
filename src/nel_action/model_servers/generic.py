"""Any OpenAI-compatible server, defined by its command line."""

from __future__ import annotations

from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.model_servers.base import (
    BuiltInServer,
    check_image,
    check_model_name,
    expand,
    extra_arguments,
    split,
)
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import GenericDeployment, ServedDeployment

__all__ = ["SERVER", "GenericServer"]


class GenericServer(BuiltInServer[GenericDeployment]):
    """Runs the `command` of the spec."""

    type = "generic"
    settings = GenericDeployment

    def check_settings(self, deployment: GenericDeployment) -> Iterator[Problem]:
        """Yield a missing command, model name or image."""
        if not deployment.command:
            yield Problem("deployment generic has no command", hint="set deployment.command")
        yield from check_model_name(deployment)
        yield from check_image(deployment) if deployment.runtime == "docker" else ()

    def configured_command(self, deployment: ServedDeployment, binding: ServeBinding) -> None:
        """Return None: `build` uses the command of the spec."""

    def build(self, deployment: GenericDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line: `command`, followed by `extra_args` unless `command` contains them."""
        argv, extra = split(deployment.command or ()), extra_arguments(deployment)
        # NOTE: the launcher's commands contain `${deployment.extra_args}`.
        contained = not extra or any(argv[index : index + len(extra)] == extra for index in range(len(argv)))
        return ServeCommand(argv=expand(argv if contained else argv + extra, binding))


SERVER = GenericServer()
