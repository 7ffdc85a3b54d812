"""Routes of the workspace: its description, machines, secrets and logs."""

from __future__ import annotations

from collections.abc import Iterable

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.dedicated_node_group import (
    DedicatedNodeGroup,
    DedicatedNodeGroupSpec,
    DedicatedNodeGroupStatus,
    Node,
    NodeSpec,
    NodeStatus,
)
from leptonai.api.v2.types.secret import SecretItem
from leptonai.api.v2.types.workspace import Workloads, WorkspaceFeatures, WorkspaceInfo, WorkspaceState
from tests.doubles.lepton.bodies import ApiError, parse, serialize
from tests.doubles.lepton.logs import Line, query_history
from tests.doubles.lepton.quota import quota
from tests.doubles.lepton.routing import Request, Response, Routes
from tests.doubles.lepton.settings import NodeGroup

__all__ = ["WORKSPACE"]

WORKSPACE = Routes()


@WORKSPACE.on("GET", "/workspace")
def workspace(request: Request) -> Response:
    platform, settings = request.platform, request.platform.settings
    info = WorkspaceInfo(
        build_time="2026-01-01T00:00:00Z",
        git_commit="1.0.0",
        workspace_name=settings.workspace,
        workspace_tier="Enterprise",
        workspace_state=WorkspaceState(settings.state),
        supported_shapes={},
        workspace_disk_usage_bytes=0,
        workloads=Workloads(
            num_deployments=len(platform.endpoints.records),
            num_jobs=len(platform.jobs.records),
            num_pods=0,
            num_secrets=len(settings.secrets),
            num_image_pull_secrets=len(settings.registries or ()),
        ),
        resource_quota=quota(settings, platform.shapes_in_use()),
        features=WorkspaceFeatures(
            enable_new_deployment_api=settings.new_api, enable_secure_endpoint_defaults=settings.secure_defaults
        ),
    )
    return Response(serialize(info))


@WORKSPACE.on("GET", "/usersecrets")
def secrets(request: Request) -> Response:
    return Response([serialize(SecretItem(name=name)) for name in request.platform.settings.secrets])


@WORKSPACE.on("POST", "/usersecrets")
def create_secrets(request: Request) -> Response:
    items = [parse(SecretItem, item) for item in request.body]
    known = request.platform.settings.secrets
    for item in items:
        if item.name in known:
            raise ApiError(409, "Conflict", f"secret {item.name} already exists")
    known.update({item.name: item.value or "" for item in items})
    return Response({}, 201)


@WORKSPACE.on("DELETE", "/usersecrets/{name}")
def delete_secret(request: Request) -> Response:
    if request.platform.settings.secrets.pop(request.parts["name"], None) is None:
        raise ApiError(404, "ResourceNotFound", f"secret {request.parts['name']} not found")
    return Response({})


def _group(name: str, group: NodeGroup) -> DedicatedNodeGroup:
    ready = len(set(group.nodes) - set(group.unschedulable))
    return DedicatedNodeGroup(
        metadata=Metadata(id=name, name=group.name),
        spec=DedicatedNodeGroupSpec(desired_nodes=len(group.nodes)),
        status=DedicatedNodeGroupStatus(ready_nodes=ready, quota_enabled=False),
    )


@WORKSPACE.on("GET", "/dedicated-node-groups")
def node_groups(request: Request) -> Response:
    return Response([serialize(_group(name, group)) for name, group in request.platform.settings.node_groups.items()])


def _find_group(request: Request) -> tuple[str, NodeGroup]:
    name = request.parts["group"]
    if name not in request.platform.settings.node_groups:
        raise ApiError(404, "ResourceNotFound", f"dedicated node group {name} not found")
    return name, request.platform.settings.node_groups[name]


@WORKSPACE.on("GET", "/dedicated-node-groups/{group}")
def node_group(request: Request) -> Response:
    return Response(serialize(_group(*_find_group(request))))


@WORKSPACE.on("GET", "/dedicated-node-groups/{group}/nodes")
def nodes(request: Request) -> Response:
    name, group = _find_group(request)
    group_nodes = [
        Node(
            metadata=Metadata(id=node, name=node),
            spec=NodeSpec(dedicated_node_group=name, unschedulable=node in group.unschedulable),
            status=NodeStatus(status=["Ready"]),
        )
        for node in group.nodes
    ]
    return Response([serialize(node) for node in group_nodes])


@WORKSPACE.on("GET", "/shapes")
def shapes(request: Request) -> Response:
    return Response([serialize(shape) for shape in request.platform.settings.shapes.values()])


@WORKSPACE.on("GET", "/logs")
def logs(request: Request) -> Response:
    platform, settings = request.platform, request.platform.settings
    query = {name: values[0] for name, values in request.query.items()}
    if ("start" in query) != ("end" in query) or "0" in (query.get("start"), query.get("end")):
        raise ApiError(400, "InvalidRequest", "start and end go together and are not 0")
    until = platform.clock.nanos() - int(settings.log_lag * 1e9)
    return Response(query_history(list(_lines(request, query)), query, until=until, max_lines=settings.max_log_lines))


def _lines(request: Request, query: dict[str, str]) -> Iterable[Line]:
    platform = request.platform
    family = "endpoint" if platform.settings.new_api else "deployment"
    if job := query.get("job"):
        records = [platform.jobs.get(job, query.get("job_query_mode", "alive_and_archive"))]
    elif run := query.get("job_history_name"):
        records = [platform.jobs.get(run.rpartition("-")[0])]
    elif name := query.get(family):
        return platform.endpoints.get(name).log.lines
    else:
        raise ApiError(400, "InvalidRequest", f"job, {family} or job_history_name is needed")
    collected = [
        record for record in records if not (record.job.spec.log and record.job.spec.log.enable_collection is False)
    ]
    return [line for record in collected for line in record.log.lines]
