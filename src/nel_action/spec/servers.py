"""Servers for large models, with the launcher's keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.serving import Endpoints, ServedDeployment

__all__ = [
    "NimDeployment",
    "NimEndpoints",
    "SglangDeployment",
    "TrtllmDeployment",
    "VllmDeployment",
    "VllmRayDeployment",
]

Count = Annotated[int, Field(gt=0)]


class VllmDeployment(ServedDeployment):
    """vLLM."""

    type: Literal["vllm"] = "vllm"
    """The kind of server."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer (8 in the packaged group)."""
    pipeline_parallel_size: Count = 1
    """Stages that share the layers."""
    data_parallel_size: Count = 1
    """Copies of the model."""
    data_parallel_size_local: Count | None = None
    """Copies on one node, for a `command` of your own that names it."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of a GPU's memory to use (0.95 in the packaged group)."""
    trust_remote_code: bool = False
    """Run the code that comes with the model (on in the packaged group, as the launcher has it)."""
    base_command: str | None = None
    """What `${deployment.base_command}` stands for in a `command` of your own; where it is changed, the server runs
    it."""


class VllmRayDeployment(VllmDeployment):
    """vLLM over several nodes, which a Ray cluster joins."""

    type: Literal["vllm_ray"] = "vllm_ray"  # type: ignore[assignment]
    """The kind of server."""
    distributed_executor_backend: str = "ray"
    """What spreads the model over the nodes."""


class SglangDeployment(ServedDeployment):
    """SGLang."""

    type: Literal["sglang"] = "sglang"
    """The kind of server."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer (8 in the packaged group)."""
    pipeline_parallel_size: Count = 1
    """Stages that share the layers."""
    data_parallel_size: Count = 1
    """Copies of the model."""


class TrtllmDeployment(ServedDeployment):
    """TensorRT-LLM."""

    type: Literal["trtllm"] = "trtllm"
    """The kind of server."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer (8 in the packaged group)."""
    pipeline_parallel_size: Count = 1
    """Stages that share the layers."""


class NimEndpoints(Endpoints):
    """Paths of a NIM's routes."""

    health: str = "/v1/health/ready"
    """Answers 200 when the server is ready."""


class NimDeployment(ServedDeployment):
    """NVIDIA NIM: image and model in one."""

    type: Literal["nim"] = "nim"
    """The kind of server."""
    endpoints: NimEndpoints = NimEndpoints()
    """The server's routes."""
