"""How an endpoint looks through either family of routes."""

from __future__ import annotations

import copy
from typing import Any

from leptonai.api.v2 import translation
from leptonai.api.v2.types.deployment import (
    AutoScalerStatus,
    DeploymentEndpoint,
    LeptonDeployment,
    LeptonDeploymentState,
    LeptonDeploymentStatus,
)
from tests.doubles.lepton.bodies import Refused, read, show
from tests.doubles.lepton.endpoint import Endpoint

__all__ = ["as_deployment", "as_endpoint", "from_endpoint"]

State = LeptonDeploymentState


def as_deployment(endpoint: Endpoint, *, whole: bool = False) -> dict[str, Any]:
    """Return the body of `/deployments`; tokens only when it was just created."""
    model = endpoint.model.model_copy(deep=True)
    gone = endpoint.state in {State.Stopping, State.Stopped}
    model.status = LeptonDeploymentStatus(
        state=State.NotReady if gone else endpoint.state,
        phase=endpoint.state,
        endpoint=DeploymentEndpoint(internal_endpoint=endpoint.gateway.url, external_endpoint=endpoint.gateway.url),
        autoscaler_status=AutoScalerStatus(desired_replicas=endpoint.wanted),
    )
    body = show(model)
    if not whole:
        _hide(body["spec"])
    return body


def as_endpoint(endpoint: Endpoint, *, whole: bool = False) -> dict[str, Any]:
    """Return the body of `/endpoints`, held against the SDK's own reading of it."""
    assert endpoint.raw is not None
    assert endpoint.model.metadata
    body: dict[str, Any] = copy.deepcopy(endpoint.raw)
    body["metadata"] |= {"name": endpoint.name, "created_at": endpoint.model.metadata.created_at}
    if endpoint.model.spec and endpoint.model.spec.api_tokens:
        body["spec"]["api_tokens"] = [show(token) for token in endpoint.model.spec.api_tokens]
    state = "NotReady" if endpoint.state is State.NotReady else endpoint.state.value
    body["status"] = {"state": state, "external_url": endpoint.gateway.url}
    if endpoint.ready:
        body["status"]["ready_replicas"] = endpoint.wanted
    body["status"]["auto_scaler_status"] = {"desired_replicas": endpoint.wanted}
    if not whole:
        _hide(body["spec"])
    LeptonDeployment(**translation.http_endpoint_to_legacy(body))
    return body


def _hide(spec: dict[str, Any]) -> None:
    for token in spec.get("api_tokens") or []:
        if "value" in token:
            token["value"] = "***"


def from_endpoint(raw: object) -> LeptonDeployment:
    """Read a body of `/endpoints`; nothing in it may get lost on the SDK's way back."""
    if not isinstance(raw, dict) or len(raw.get("spec", {}).get("components", [])) != 1:
        raise Refused(400, "InvalidRequest", "an endpoint has metadata and one component")
    legacy = translation.http_endpoint_to_legacy(raw)
    legacy.pop("status")
    model = read(LeptonDeployment, legacy)
    back = translation.legacy_to_http_endpoint(show(model))
    lost = {name for name in raw["spec"]["components"][0] if name not in back["spec"]["components"][0]}
    lost |= {name for name in raw["spec"] if name not in back["spec"]} - {"api_tokens"}
    if lost:
        raise Refused(400, "InvalidRequest", f"an endpoint has no {', '.join(sorted(lost))}")
    return model
