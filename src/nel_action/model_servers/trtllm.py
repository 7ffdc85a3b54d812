"""TensorRT-LLM."""

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
from nel_action.spec.deployment import TrtllmDeployment

__all__ = ["SERVER", "TrtllmServer"]


class TrtllmServer(BuiltInServer[TrtllmDeployment]):
    """Runs `trtllm-serve` with MPI."""

    type = "trtllm"
    settings = TrtllmDeployment

    def check_settings(self, deployment: TrtllmDeployment) -> Iterator[Problem]:
        """Yield a missing model or image."""
        yield from check_model(deployment)
        yield from check_image(deployment)

    def build(self, deployment: TrtllmDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line."""
        argv = (
            *("mpirun", "--allow-run-as-root", "--oversubscribe"),
            *("trtllm-serve", "serve", model_path_or_handle(deployment, binding)),
            *("--backend", "pytorch"),
            *("--host", binding.host),
            *("--port", str(binding.port)),
            *("--tp_size", str(deployment.tensor_parallel_size)),
            *("--pp_size", str(deployment.pipeline_parallel_size)),
            "--trust_remote_code",
            *extra_arguments(deployment),
        )
        return ServeCommand(argv=argv)


SERVER = TrtllmServer()
