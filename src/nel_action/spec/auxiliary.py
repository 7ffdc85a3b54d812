"""Further servers beside the one under test, such as a judge: the same settings, and how many nodes they take."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from nel_action.spec.base import EnvironmentName, SpecModel
from nel_action.spec.deployment import DEPLOYMENT_TYPES, GenericDeployment, LlamaCppDeployment, PluginDeployment
from nel_action.spec.servers import (
    NimDeployment,
    SglangDeployment,
    TrtllmDeployment,
    VllmDeployment,
    VllmRayDeployment,
)
from nel_action.spec.serving import NoDeployment

__all__ = ["AuxiliaryDeployment", "AuxiliaryKeys"]

Count = Annotated[int, Field(gt=0)]


class AuxiliaryKeys(SpecModel):
    """What a further server has besides the keys of its type."""

    num_nodes: Count = 1
    """Nodes of its own, over all its instances."""
    num_instances: Count = 1
    """Independent copies behind a balancer."""
    env_prefix: EnvironmentName | None = None
    """Beginning of the variables that say where it is (`JUDGE_CHAT_URL`); its name in capitals unless said."""


class AuxiliaryVllm(AuxiliaryKeys, VllmDeployment):
    """vLLM."""


class AuxiliaryVllmRay(AuxiliaryKeys, VllmRayDeployment):
    """vLLM over several nodes."""


class AuxiliarySglang(AuxiliaryKeys, SglangDeployment):
    """SGLang."""


class AuxiliaryNim(AuxiliaryKeys, NimDeployment):
    """NVIDIA NIM."""


class AuxiliaryTrtllm(AuxiliaryKeys, TrtllmDeployment):
    """TensorRT-LLM."""


class AuxiliaryGeneric(AuxiliaryKeys, GenericDeployment):
    """Any server, by its command line."""


class AuxiliaryLlamaCpp(AuxiliaryKeys, LlamaCppDeployment):
    """llama.cpp's server."""


class AuxiliaryPlugin(AuxiliaryKeys, PluginDeployment):
    """A server of somebody's plug-in."""


def _tag(value: Any) -> str | None:  # noqa: ANN401 - raw input or a model
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(kind, str):
        return None
    return kind if kind in DEPLOYMENT_TYPES else "plugin"


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
    Discriminator(_tag),
]
"""One of the servers, by `type`; `none` is left out."""
