"""Any OpenAI-compatible server, by its command line."""

from __future__ import annotations

from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.model_servers.base import ModelServer
from nel_action.model_servers.command_line import extra_words, fill, needs_image, split
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import GenericDeployment, ServedDeployment

__all__ = ["SERVER", "GenericServer"]


class GenericServer(ModelServer[GenericDeployment]):
    """Runs what the user says."""

    type = "generic"
    settings = GenericDeployment

    def problems(self, deployment: GenericDeployment) -> Iterator[Problem]:
        """Find that there is no command, image or name."""
        if not deployment.command:
            yield Problem("deployment generic has no command", None, "write deployment.command")
        if not deployment.served_model_name:
            yield Problem("deployment.served_model_name is missing", None, "it is the model's name in requests")
        yield from needs_image(deployment) if deployment.runtime == "docker" else ()

    def written(self, deployment: ServedDeployment, binding: ServeBinding) -> None:
        """Return None: `build` looks at the user's words itself."""

    def build(self, deployment: GenericDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line: `command`, then `extra_args` unless `command` holds them already."""
        words, more = split(deployment.command or ()), extra_words(deployment)
        # NOTE: the launcher's commands hold `${deployment.extra_args}` by themselves.
        held = not more or any(words[at : at + len(more)] == more for at in range(len(words)))
        return ServeCommand(argv=fill(words if held else words + more, binding))


SERVER = GenericServer()
"""The one instance."""
