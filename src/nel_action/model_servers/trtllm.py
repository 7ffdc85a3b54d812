"""TensorRT-LLM."""

from __future__ import annotations

from collections.abc import Iterator

from nel_action.errors import Problem
from nel_action.model_servers.base import ModelServer
from nel_action.model_servers.command_line import extra_words, model_of, needs_image, needs_model
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.servers import TrtllmDeployment

__all__ = ["SERVER", "TrtllmServer"]


class TrtllmServer(ModelServer[TrtllmDeployment]):
    """`trtllm-serve` under MPI."""

    type = "trtllm"
    settings = TrtllmDeployment

    def problems(self, deployment: TrtllmDeployment) -> Iterator[Problem]:
        """Find that there is no model or image."""
        yield from needs_model(deployment)
        yield from needs_image(deployment)

    def build(self, deployment: TrtllmDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line."""
        words = (
            *("mpirun", "--allow-run-as-root", "--oversubscribe"),
            *("trtllm-serve", "serve", model_of(deployment, binding)),
            *("--backend", "pytorch"),
            *("--host", binding.host),
            *("--port", str(binding.port)),
            *("--tp_size", str(deployment.tensor_parallel_size)),
            *("--pp_size", str(deployment.pipeline_parallel_size)),
            "--trust_remote_code",
            *extra_words(deployment),
        )
        return ServeCommand(argv=words)


SERVER = TrtllmServer()
"""The one instance."""
