"""SGLang."""

from __future__ import annotations

from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.model_servers.base import ModelServer
from nel_action.model_servers.command_line import extra_words, model_of, needs_image, needs_model
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.servers import SglangDeployment

__all__ = ["SERVER", "SglangServer"]


class SglangServer(ModelServer[SglangDeployment]):
    """`python3 -m sglang.launch_server`."""

    type = "sglang"
    settings = SglangDeployment

    def problems(self, deployment: SglangDeployment) -> Iterator[Problem]:
        """Find that there is no model or image."""
        yield from needs_model(deployment)
        yield from needs_image(deployment)

    def build(self, deployment: SglangDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line."""
        words = (
            *("python3", "-m", "sglang.launch_server"),
            *("--model-path", model_of(deployment, binding)),
            *("--served-model-name", deployment.served_model_name or ""),
            *("--host", binding.host),
            *("--port", str(binding.port)),
            *("--tp-size", str(deployment.tensor_parallel_size)),
            *("--dp-size", str(deployment.data_parallel_size)),
            *("--pp-size", str(deployment.pipeline_parallel_size)),
            *extra_words(deployment),
        )
        return ServeCommand(argv=words)


SERVER = SglangServer()
"""The one instance."""
