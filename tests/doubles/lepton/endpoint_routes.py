"""Routes of `/deployments` and `/endpoints`; a workspace has one of the two APIs."""

from __future__ import annotations

import time
from typing import Any

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.deployment import LeptonDeployment
from leptonai.api.v2.types.events import LeptonEvent
from leptonai.api.v2.types.readiness import ReadinessIssue, ReplicaReadinessIssue
from leptonai.api.v2.types.replica import Replica
from leptonai.api.v2.types.termination import DeploymentTerminations
from tests.doubles.lepton.bodies import ApiError, merge, parse, serialize
from tests.doubles.lepton.endpoint import Endpoint
from tests.doubles.lepton.endpoint_views import as_deployment, as_endpoint, from_endpoint
from tests.doubles.lepton.routing import Request, Response, Routes

__all__ = ["DEPLOYMENTS", "ENDPOINTS"]

DEPLOYMENTS = Routes()
ENDPOINTS = Routes()


def _view(request: Request, endpoint: Endpoint, *, with_tokens: bool = False) -> dict[str, Any]:
    view = as_endpoint if request.platform.settings.new_api else as_deployment
    return view(endpoint, with_tokens=with_tokens)


def _observe(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    body = _view(request, endpoint)
    request.platform.endpoints.count_request(endpoint)
    return body


@DEPLOYMENTS.on("POST", "/deployments")
def create_deployment(request: Request) -> Response:
    endpoint = request.platform.endpoints.create(parse(LeptonDeployment, request.body), None)
    return Response(_view(request, endpoint, with_tokens=True), 201)


@ENDPOINTS.on("POST", "/endpoints")
def create_endpoint(request: Request) -> Response:
    endpoint = request.platform.endpoints.create(from_endpoint(request.body), request.body)
    return Response(_view(request, endpoint, with_tokens=True), 201)


@DEPLOYMENTS.on("GET", "/deployments")
@ENDPOINTS.on("GET", "/endpoints")
def listing(request: Request) -> Response:
    return Response([_observe(request, endpoint) for endpoint in list(request.platform.endpoints.records.values())])


def _find(request: Request) -> Endpoint:
    return request.platform.endpoints.get(request.parts["name"])


@DEPLOYMENTS.on("GET", "/deployments/{name}")
@ENDPOINTS.on("GET", "/endpoints/{name}")
def get(request: Request) -> Response:
    return Response(_observe(request, _find(request)))


@DEPLOYMENTS.on("PATCH", "/deployments/{name}")
def change_deployment(request: Request) -> Response:
    endpoint = _find(request)
    patched = merge(serialize(endpoint.model), request.body)
    request.platform.endpoints.change(endpoint, parse(LeptonDeployment, patched), None)
    return Response(_view(request, endpoint))


@ENDPOINTS.on("PATCH", "/endpoints/{name}")
def change_endpoint(request: Request) -> Response:
    endpoint = _find(request)
    assert endpoint.raw is not None
    patched = merge(endpoint.raw, request.body)
    model = from_endpoint(patched)
    assert model.spec
    assert endpoint.model.spec
    model.metadata = endpoint.model.metadata
    if not request.body.get("spec", {}).get("api_tokens"):
        model.spec.api_tokens = endpoint.model.spec.api_tokens
    request.platform.endpoints.change(endpoint, model, patched)
    return Response(_view(request, endpoint))


@DEPLOYMENTS.on("DELETE", "/deployments/{name}")
@ENDPOINTS.on("DELETE", "/endpoints/{name}")
def delete(request: Request) -> Response:
    request.platform.endpoints.delete(_find(request))
    return Response({})


@DEPLOYMENTS.on("PUT", "/deployments/{name}/restart")
@ENDPOINTS.on("PUT", "/endpoints/{name}/restart")
def restart(request: Request) -> Response:
    endpoint = _find(request)
    request.platform.endpoints.restart(endpoint)
    return Response(_view(request, endpoint))


@DEPLOYMENTS.on("GET", "/deployments/{name}/readiness")
def readiness(request: Request) -> Response:
    endpoint = _find(request)
    issue = ReplicaReadinessIssue(reason=endpoint.reason, message=endpoint.message, creationTimestamp=_now(request))
    return Response(serialize(ReadinessIssue({endpoint.replica: [issue]})) if endpoint.desired_replicas else {})


@DEPLOYMENTS.on("GET", "/deployments/{name}/termination")
def termination(request: Request) -> Response:
    endpoint = _find(request)
    terminations = {endpoint.replica: endpoint.terminations} if endpoint.terminations else {}
    return Response(serialize(DeploymentTerminations(terminations)))


@DEPLOYMENTS.on("GET", "/deployments/{name}/replicas")
@ENDPOINTS.on("GET", "/endpoints/{name}/replicas")
def replicas(request: Request) -> Response:
    endpoint = _find(request)
    names = [endpoint.replica] if endpoint.runs and endpoint.desired_replicas else []
    return Response([serialize(Replica(metadata=Metadata(id=name, name=name), id=name)) for name in names])


@DEPLOYMENTS.on("GET", "/deployments/{name}/replicas/{replica}/log")
@ENDPOINTS.on("GET", "/endpoints/{name}/replicas/{replica}/log")
def log(request: Request) -> Response:
    endpoint = _find(request)
    if request.parts["replica"] != endpoint.replica:
        raise ApiError(404, "ResourceNotFound", f"replica {request.parts['replica']} not found")
    return Response(stream=endpoint.log.follow(endpoint.replica, request.platform.closing, request.platform.settle))


@DEPLOYMENTS.on("GET", "/deployments/{name}/events")
@ENDPOINTS.on("GET", "/endpoints/{name}/events")
def events(request: Request) -> Response:
    endpoint = _find(request)
    kind = "Normal" if endpoint.ready else "Warning"
    event = LeptonEvent(type=kind, reason=endpoint.reason.value, count=1, last_observed_time=_now(request))
    return Response([serialize(event)])


def _now(request: Request) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(request.platform.clock.now()))
