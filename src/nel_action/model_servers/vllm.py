"""vLLM, on one machine or on several nodes that a Ray cluster connects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

from nel_action.errors import Problem
from nel_action.model_servers.base import (
    BuiltInServer,
    check_image,
    check_model,
    expand,
    extra_arguments,
    model_path_or_handle,
    split,
)
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.spec.deployment import VllmDeployment, VllmRayDeployment

__all__ = ["RAY_SCRIPT", "RAY_SERVER", "SERVER", "VllmRayServer", "VllmServer"]

RAY_SCRIPT: Final = "ray_serve.sh"


class VllmServer(BuiltInServer[VllmDeployment]):
    """Runs `vllm serve`."""

    type = "vllm"
    settings: ClassVar[Any] = VllmDeployment

    def check_settings(self, deployment: VllmDeployment) -> Iterator[Problem]:
        """Yield a missing model or image."""
        yield from check_model(deployment)
        yield from check_image(deployment)

    def build(self, deployment: VllmDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line."""
        return ServeCommand(argv=_serve_argv(deployment, binding))


class VllmRayServer(VllmServer):
    """Runs a script on each node that joins a Ray cluster; the head then runs `vllm serve`.

    The executor sets `PROC_ID` (0 is the head), `NODES_PER_INSTANCE` and `MASTER_IP`; without them, the node is the
    head of a cluster of one.
    """

    type = "vllm_ray"
    settings = VllmRayDeployment

    def build(self, deployment: VllmDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line: the script, followed by the command line of the server."""
        backend = getattr(deployment, "distributed_executor_backend", "ray")
        argv = (*_serve_argv(deployment, binding), "--distributed-executor-backend", backend)
        script = Path(__file__).with_name(RAY_SCRIPT).read_text(encoding="utf-8")
        return ServeCommand(argv=("bash", str(binding.work_dir / RAY_SCRIPT), *argv), files={RAY_SCRIPT: script})


def _serve_argv(deployment: VllmDeployment, binding: ServeBinding) -> tuple[str, ...]:
    """Return the command line of `vllm serve`."""
    if deployment.base_command is not None:
        return expand(split(deployment.base_command), binding)
    argv = [
        *("vllm", "serve", model_path_or_handle(deployment, binding)),
        *("--served-model-name", deployment.served_model_name or ""),
        *("--host", binding.host),
        *("--port", str(binding.port)),
        *("--tensor-parallel-size", str(deployment.tensor_parallel_size)),
        *("--pipeline-parallel-size", str(deployment.pipeline_parallel_size)),
        *("--data-parallel-size", str(deployment.data_parallel_size)),
    ]
    if deployment.gpu_memory_utilization is not None:
        argv += ["--gpu-memory-utilization", str(deployment.gpu_memory_utilization)]
    if deployment.trust_remote_code:
        argv.append("--trust-remote-code")
    return (*argv, *extra_arguments(deployment))


SERVER = VllmServer()
RAY_SERVER = VllmRayServer()
