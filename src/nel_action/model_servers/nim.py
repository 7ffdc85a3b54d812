"""NVIDIA NIM: the image holds server and model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nel_action.errors import Problem
from nel_action.model_servers.base import ModelServer
from nel_action.model_servers.command_line import extra_words, needs_image
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.servers import NimDeployment

__all__ = ["SERVER", "NimServer"]

# NOTE: said in full, for runtimes that do not run an image's entry point by themselves. Images of NIM 2 and later
# start otherwise; there `deployment.command` says how.
START: Final = ("/opt/nvidia/nvidia_entrypoint.sh", "/opt/nim/start_server.sh")
USUAL_PORT: Final = 8000


class NimServer(ModelServer[NimDeployment]):
    """The image's own start script."""

    type = "nim"
    settings = NimDeployment

    def problems(self, deployment: NimDeployment) -> Iterator[Problem]:
        """Find that there is no image or name, or a checkpoint, which a NIM has inside."""
        yield from needs_image(deployment)
        if deployment.runtime == "process":
            yield Problem("deployment nim runs in a container only", None, "take deployment.runtime out")
        if not deployment.served_model_name:
            yield Problem("deployment.served_model_name is missing", None, "it is the model's name in requests")

    def build(self, deployment: NimDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line; the port and the name go by variables."""
        env = {"NIM_SERVED_MODEL_NAME": deployment.served_model_name or ""}
        if binding.port != USUAL_PORT:
            env |= {"NIM_SERVER_PORT": str(binding.port), "NIM_HTTP_API_PORT": str(binding.port)}
        return ServeCommand(argv=(*START, *extra_words(deployment)), env=env)


SERVER = NimServer()
"""The one instance."""
