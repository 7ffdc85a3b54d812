"""NVIDIA NIM: an image with server and model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nel_action.errors import Problem
from nel_action.model_servers.base import (
    BuiltInServer,
    check_image,
    check_model_name,
    extra_arguments,
)
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import NimDeployment

__all__ = ["SERVER", "NimServer"]

# NOTE: explicit, because some container runtimes ignore an image's entry point. Images of NIM 2 and later have other
# scripts and need `deployment.command`.
START_SCRIPT: Final = ("/opt/nvidia/nvidia_entrypoint.sh", "/opt/nim/start_server.sh")
DEFAULT_PORT: Final = 8000


class NimServer(BuiltInServer[NimDeployment]):
    """Runs the start script of the image."""

    type = "nim"
    settings = NimDeployment

    def check_settings(self, deployment: NimDeployment) -> Iterator[Problem]:
        """Yield a missing image or model name, and a runtime other than a container."""
        yield from check_image(deployment)
        if deployment.runtime == "process":
            yield Problem("deployment nim runs only in a container", hint="remove deployment.runtime")
        yield from check_model_name(deployment)

    def build(self, deployment: NimDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line; port and model name are set by variables."""
        env = {"NIM_SERVED_MODEL_NAME": deployment.served_model_name or ""}
        if binding.port != DEFAULT_PORT:
            env |= {"NIM_SERVER_PORT": str(binding.port), "NIM_HTTP_API_PORT": str(binding.port)}
        return ServeCommand(argv=(*START_SCRIPT, *extra_arguments(deployment)), env=env)


SERVER = NimServer()
