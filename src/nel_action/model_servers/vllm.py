"""vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from nel_action.errors import Problem
from nel_action.model_servers.base import ModelServer
from nel_action.model_servers.command_line import extra_words, fill, model_of, needs_image, needs_model, split
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.servers import VllmDeployment

__all__ = ["SERVER", "VllmServer", "vllm_words"]


def vllm_words(deployment: VllmDeployment, binding: ServeBinding) -> tuple[str, ...]:
    """Return the words of `vllm serve`."""
    if deployment.base_command is not None:
        return fill(split(deployment.base_command), binding)
    words = [
        *("vllm", "serve", model_of(deployment, binding)),
        *("--served-model-name", deployment.served_model_name or ""),
        *("--host", binding.host),
        *("--port", str(binding.port)),
        *("--tensor-parallel-size", str(deployment.tensor_parallel_size)),
        *("--pipeline-parallel-size", str(deployment.pipeline_parallel_size)),
        *("--data-parallel-size", str(deployment.data_parallel_size)),
    ]
    if deployment.gpu_memory_utilization is not None:
        words += ["--gpu-memory-utilization", str(deployment.gpu_memory_utilization)]
    if deployment.trust_remote_code:
        words.append("--trust-remote-code")
    return (*words, *extra_words(deployment))


class VllmServer(ModelServer[VllmDeployment]):
    """`vllm serve`."""

    type = "vllm"
    settings: ClassVar[Any] = VllmDeployment

    def problems(self, deployment: VllmDeployment) -> Iterator[Problem]:
        """Find that there is no model or image."""
        yield from needs_model(deployment)
        yield from needs_image(deployment)

    def build(self, deployment: VllmDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line."""
        return ServeCommand(argv=vllm_words(deployment, binding))


SERVER = VllmServer()
"""The one instance."""
