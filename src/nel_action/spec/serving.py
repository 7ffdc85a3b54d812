"""How to serve the model for as long as a job runs: what all servers share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nel_action.model.env_ref import EnvRef
from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.lepton import LeptonConfig

__all__ = ["DeploymentBase", "Endpoints", "NoDeployment", "ServedDeployment"]


class DeploymentBase(SpecModel):
    """Settings shared by all deployments, `none` included."""

    type: str
    """The kind of server."""


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
    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of the server alone."""
    extra_args: str = ""
    """More words for the server's command line, split as a shell would, run without one."""
    cache_path: str | None = None
    """A folder on the host that keeps what the server downloads, mounted at `/cache`."""
    pre_cmd: str | None = None
    """Shell text that runs before the server; refused unless `execution.trust_commands` is set."""
    lepton_config: LeptonConfig | None = None
    """How Lepton serves it; other executors pass it by."""
    endpoints: Endpoints = Endpoints()
    """The server's routes."""
    command: str | tuple[str, ...] | None = None
    """The whole command line in place of the one that is made here; `{host}`, `{port}`, `{checkpoint}` and
    `{work_dir}` stand for what is known only where it runs."""
