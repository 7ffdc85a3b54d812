"""`/deployments` and `/endpoints`: a workspace has one of the two."""

from __future__ import annotations

import time
from typing import Any

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.deployment import LeptonDeployment
from leptonai.api.v2.types.events import LeptonEvent
from leptonai.api.v2.types.readiness import ReadinessIssue, ReplicaReadinessIssue
from leptonai.api.v2.types.replica import Replica
from leptonai.api.v2.types.termination import DeploymentTerminations
from tests.doubles.lepton.bodies import Refused, merge, read, show
from tests.doubles.lepton.endpoint import Endpoint
from tests.doubles.lepton.endpoint_views import as_deployment, as_endpoint, from_endpoint
from tests.doubles.lepton.table import Answer, Asked, Table

__all__ = ["DEPLOYMENTS", "ENDPOINTS"]

DEPLOYMENTS = Table()
ENDPOINTS = Table()


def _view(asked: Asked, endpoint: Endpoint, *, whole: bool = False) -> dict[str, Any]:
    view = as_endpoint if asked.platform.settings.new_api else as_deployment
    return view(endpoint, whole=whole)


def _seen(asked: Asked, endpoint: Endpoint) -> dict[str, Any]:
    body = _view(asked, endpoint)
    asked.platform.endpoints.look(endpoint)
    return body


@DEPLOYMENTS.on("POST", "/deployments")
def create_deployment(asked: Asked) -> Answer:
    endpoint = asked.platform.endpoints.create(read(LeptonDeployment, asked.body), None)
    return Answer(_view(asked, endpoint, whole=True), 201)


@ENDPOINTS.on("POST", "/endpoints")
def create_endpoint(asked: Asked) -> Answer:
    endpoint = asked.platform.endpoints.create(from_endpoint(asked.body), asked.body)
    return Answer(_view(asked, endpoint, whole=True), 201)


@DEPLOYMENTS.on("GET", "/deployments")
@ENDPOINTS.on("GET", "/endpoints")
def listing(asked: Asked) -> Answer:
    return Answer([_seen(asked, endpoint) for endpoint in list(asked.platform.endpoints.records.values())])


def _named(asked: Asked) -> Endpoint:
    return asked.platform.endpoints.get(asked.parts["name"])


@DEPLOYMENTS.on("GET", "/deployments/{name}")
@ENDPOINTS.on("GET", "/endpoints/{name}")
def get(asked: Asked) -> Answer:
    return Answer(_seen(asked, _named(asked)))


@DEPLOYMENTS.on("PATCH", "/deployments/{name}")
def change_deployment(asked: Asked) -> Answer:
    endpoint = _named(asked)
    patched = merge(show(endpoint.model), asked.body)
    asked.platform.endpoints.change(endpoint, read(LeptonDeployment, patched), None)
    return Answer(_view(asked, endpoint))


@ENDPOINTS.on("PATCH", "/endpoints/{name}")
def change_endpoint(asked: Asked) -> Answer:
    endpoint = _named(asked)
    assert endpoint.raw is not None
    patched = merge(endpoint.raw, asked.body)
    model = from_endpoint(patched)
    assert model.spec
    assert endpoint.model.spec
    model.metadata = endpoint.model.metadata
    if not asked.body.get("spec", {}).get("api_tokens"):
        model.spec.api_tokens = endpoint.model.spec.api_tokens
    asked.platform.endpoints.change(endpoint, model, patched)
    return Answer(_view(asked, endpoint))


@DEPLOYMENTS.on("DELETE", "/deployments/{name}")
@ENDPOINTS.on("DELETE", "/endpoints/{name}")
def delete(asked: Asked) -> Answer:
    asked.platform.endpoints.delete(_named(asked))
    return Answer({})


@DEPLOYMENTS.on("PUT", "/deployments/{name}/restart")
@ENDPOINTS.on("PUT", "/endpoints/{name}/restart")
def restart(asked: Asked) -> Answer:
    endpoint = _named(asked)
    asked.platform.endpoints.restart(endpoint)
    return Answer(_view(asked, endpoint))


@DEPLOYMENTS.on("GET", "/deployments/{name}/readiness")
def readiness(asked: Asked) -> Answer:
    endpoint = _named(asked)
    issue = ReplicaReadinessIssue(reason=endpoint.reason, message=endpoint.message, creationTimestamp=_now(asked))
    return Answer(show(ReadinessIssue({endpoint.replica: [issue]})) if endpoint.wanted else {})


@DEPLOYMENTS.on("GET", "/deployments/{name}/termination")
def termination(asked: Asked) -> Answer:
    endpoint = _named(asked)
    ends = {endpoint.replica: endpoint.terminations} if endpoint.terminations else {}
    return Answer(show(DeploymentTerminations(ends)))


@DEPLOYMENTS.on("GET", "/deployments/{name}/replicas")
@ENDPOINTS.on("GET", "/endpoints/{name}/replicas")
def replicas(asked: Asked) -> Answer:
    endpoint = _named(asked)
    names = [endpoint.replica] if endpoint.runs and endpoint.wanted else []
    return Answer([show(Replica(metadata=Metadata(id=name, name=name), id=name)) for name in names])


@DEPLOYMENTS.on("GET", "/deployments/{name}/replicas/{replica}/log")
@ENDPOINTS.on("GET", "/endpoints/{name}/replicas/{replica}/log")
def log(asked: Asked) -> Answer:
    endpoint = _named(asked)
    if asked.parts["replica"] != endpoint.replica:
        raise Refused(404, "ResourceNotFound", f"replica {asked.parts['replica']} not found")
    return Answer(stream=endpoint.log.follow(endpoint.replica, asked.platform.closing, asked.platform.settle))


@DEPLOYMENTS.on("GET", "/deployments/{name}/events")
@ENDPOINTS.on("GET", "/endpoints/{name}/events")
def events(asked: Asked) -> Answer:
    endpoint = _named(asked)
    kind = "Normal" if endpoint.ready else "Warning"
    event = LeptonEvent(type=kind, reason=endpoint.reason.value, count=1, last_observed_time=_now(asked))
    return Answer([show(event)])


def _now(asked: Asked) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(asked.platform.clock.now()))
