"""The representation of an endpoint in both APIs."""

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
from tests.doubles.lepton.bodies import ApiError, parse, serialize
from tests.doubles.lepton.endpoint import Endpoint

__all__ = ["as_deployment", "as_endpoint", "from_endpoint"]

State = LeptonDeploymentState


def as_deployment(endpoint: Endpoint, *, with_tokens: bool = False) -> dict[str, Any]:
    """Return the body of `/deployments`; only the response to a creation contains tokens."""
    model = endpoint.model.model_copy(deep=True)
    gone = endpoint.state in {State.Stopping, State.Stopped}
    model.status = LeptonDeploymentStatus(
        state=State.NotReady if gone else endpoint.state,
        phase=endpoint.state,
        endpoint=DeploymentEndpoint(internal_endpoint=endpoint.gateway.url, external_endpoint=endpoint.gateway.url),
        autoscaler_status=AutoScalerStatus(desired_replicas=endpoint.desired_replicas),
    )
    body = serialize(model)
    if not with_tokens:
        _redact_tokens(body["spec"])
    return body


def as_endpoint(endpoint: Endpoint, *, with_tokens: bool = False) -> dict[str, Any]:
    """Return the body of `/endpoints`, verified with the SDK's parser."""
    assert endpoint.raw is not None
    assert endpoint.model.metadata
    body: dict[str, Any] = copy.deepcopy(endpoint.raw)
    body["metadata"] |= {"name": endpoint.name, "created_at": endpoint.model.metadata.created_at}
    if endpoint.model.spec and endpoint.model.spec.api_tokens:
        body["spec"]["api_tokens"] = [serialize(token) for token in endpoint.model.spec.api_tokens]
    state = "NotReady" if endpoint.state is State.NotReady else endpoint.state.value
    body["status"] = {"state": state, "external_url": endpoint.gateway.url}
    if endpoint.ready:
        body["status"]["ready_replicas"] = endpoint.desired_replicas
    body["status"]["auto_scaler_status"] = {"desired_replicas": endpoint.desired_replicas}
    if not with_tokens:
        _redact_tokens(body["spec"])
    LeptonDeployment(**translation.http_endpoint_to_legacy(body))
    return body


def _redact_tokens(spec: dict[str, Any]) -> None:
    for token in spec.get("api_tokens") or []:
        if "value" in token:
            token["value"] = "***"


def from_endpoint(raw: object) -> LeptonDeployment:
    """Parse a body of `/endpoints`; reject fields that the SDK's translation loses."""
    if not isinstance(raw, dict) or len(raw.get("spec", {}).get("components", [])) != 1:
        raise ApiError(400, "InvalidRequest", "an endpoint has metadata and one component")
    legacy = translation.http_endpoint_to_legacy(raw)
    legacy.pop("status")
    model = parse(LeptonDeployment, legacy)
    back = translation.legacy_to_http_endpoint(serialize(model))
    lost = {name for name in raw["spec"]["components"][0] if name not in back["spec"]["components"][0]}
    lost |= {name for name in raw["spec"] if name not in back["spec"]} - {"api_tokens"}
    if lost:
        raise ApiError(400, "InvalidRequest", f"an endpoint has no {', '.join(sorted(lost))}")
    return model
