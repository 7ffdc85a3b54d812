"""Settings of auxiliary servers, such as a judge: those of the deployments, and the number of nodes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.deployment import (
    GenericDeployment,
    LlamaCppDeployment,
    NimDeployment,
    NoDeployment,
    PluginDeployment,
    SglangDeployment,
    TrtllmDeployment,
    VllmDeployment,
    VllmRayDeployment,
    deployment_tag,
)

__all__ = ["AuxiliaryDeployment", "AuxiliaryKeys"]

Count = Annotated[int, Field(gt=0)]


class AuxiliaryKeys(SpecModel):
    """Settings of an auxiliary server in addition to those of its type."""

    num_nodes: Count = 1
    """Nodes of all its instances together."""
    num_instances: Count = 1
    """Independent instances behind a load balancer."""
    env_prefix: EnvironmentName | None = None
    """Prefix of the variables with its addresses (`JUDGE_CHAT_URL`); by default its name in upper case."""


class AuxiliaryVllm(AuxiliaryKeys, VllmDeployment):
    """vLLM."""


class AuxiliaryVllmRay(AuxiliaryKeys, VllmRayDeployment):
    """vLLM on several nodes."""


class AuxiliarySglang(AuxiliaryKeys, SglangDeployment):
    """SGLang."""


class AuxiliaryNim(AuxiliaryKeys, NimDeployment):
    """NVIDIA NIM."""


class AuxiliaryTrtllm(AuxiliaryKeys, TrtllmDeployment):
    """TensorRT-LLM."""


class AuxiliaryGeneric(AuxiliaryKeys, GenericDeployment):
    """Any server, defined by its command line."""


class AuxiliaryLlamaCpp(AuxiliaryKeys, LlamaCppDeployment):
    """The server of llama.cpp."""


class AuxiliaryPlugin(AuxiliaryKeys, PluginDeployment):
    """A server of a plug-in."""


AuxiliaryDeployment = Annotated[
    Annotated[NoDeployment, Tag("none")]
    | Annotated[AuxiliaryVllm, Tag("vllm")]
    | Annotated[AuxiliaryVllmRay, Tag("vllm_ray")]
    | Annotated[AuxiliarySglang, Tag("sglang")]
    | Annotated[AuxiliaryNim, Tag("nim")]
    | Annotated[AuxiliaryTrtllm, Tag("trtllm")]
    | Annotated[AuxiliaryGeneric, Tag("generic")]
    | Annotated[AuxiliaryLlamaCpp, Tag("llamacpp")]
    | Annotated[AuxiliaryPlugin, Tag("plugin")],
    Discriminator(deployment_tag),
]
"""Settings of one auxiliary server, selected by `type`; `none` omits it."""
