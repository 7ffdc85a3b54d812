"""SGLang."""

from __future__ import annotations

from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.model_servers.base import (
    BuiltInServer,
    check_image,
    check_model,
    extra_arguments,
    model_path_or_handle,
)
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import SglangDeployment

__all__ = ["SERVER", "SglangServer"]


class SglangServer(BuiltInServer[SglangDeployment]):
    """Runs `python3 -m sglang.launch_server`."""

    type = "sglang"
    settings = SglangDeployment

    def check_settings(self, deployment: SglangDeployment) -> Iterator[Problem]:
        """Yield a missing model or image."""
        yield from check_model(deployment)
        yield from check_image(deployment)

    def build(self, deployment: SglangDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line."""
        argv = (
            *("python3", "-m", "sglang.launch_server"),
            *("--model-path", model_path_or_handle(deployment, binding)),
            *("--served-model-name", deployment.served_model_name or ""),
            *("--host", binding.host),
            *("--port", str(binding.port)),
            *("--tp-size", str(deployment.tensor_parallel_size)),
            *("--dp-size", str(deployment.data_parallel_size)),
            *("--pp-size", str(deployment.pipeline_parallel_size)),
            *extra_arguments(deployment),
        )
        return ServeCommand(argv=argv)


SERVER = SglangServer()
