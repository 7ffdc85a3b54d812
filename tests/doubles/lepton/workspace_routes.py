"""What a workspace says about itself: rights, machines, secrets, and the logs of everything in it."""

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
from tests.doubles.lepton.bodies import Refused, read, show
from tests.doubles.lepton.logs import Line, history
from tests.doubles.lepton.quota import quota
from tests.doubles.lepton.settings import NodeGroup
from tests.doubles.lepton.table import Answer, Asked, Table

__all__ = ["WORKSPACE"]

WORKSPACE = Table()


@WORKSPACE.on("GET", "/workspace")
def workspace(asked: Asked) -> Answer:
    platform, settings = asked.platform, asked.platform.settings
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
    return Answer(show(info))


@WORKSPACE.on("GET", "/usersecrets")
def secrets(asked: Asked) -> Answer:
    return Answer([show(SecretItem(name=name)) for name in asked.platform.settings.secrets])


@WORKSPACE.on("POST", "/usersecrets")
def create_secrets(asked: Asked) -> Answer:
    items = [read(SecretItem, item) for item in asked.body]
    known = asked.platform.settings.secrets
    for item in items:
        if item.name in known:
            raise Refused(409, "Conflict", f"secret {item.name} already exists")
    known.update({item.name: item.value or "" for item in items})
    return Answer({}, 201)


@WORKSPACE.on("DELETE", "/usersecrets/{name}")
def delete_secret(asked: Asked) -> Answer:
    if asked.platform.settings.secrets.pop(asked.parts["name"], None) is None:
        raise Refused(404, "ResourceNotFound", f"secret {asked.parts['name']} not found")
    return Answer({})


def _group(name: str, group: NodeGroup) -> DedicatedNodeGroup:
    ready = len(set(group.nodes) - set(group.unschedulable))
    return DedicatedNodeGroup(
        metadata=Metadata(id=name, name=group.name),
        spec=DedicatedNodeGroupSpec(desired_nodes=len(group.nodes)),
        status=DedicatedNodeGroupStatus(ready_nodes=ready, quota_enabled=False),
    )


@WORKSPACE.on("GET", "/dedicated-node-groups")
def node_groups(asked: Asked) -> Answer:
    return Answer([show(_group(name, group)) for name, group in asked.platform.settings.node_groups.items()])


def _one_group(asked: Asked) -> tuple[str, NodeGroup]:
    name = asked.parts["group"]
    if name not in asked.platform.settings.node_groups:
        raise Refused(404, "ResourceNotFound", f"dedicated node group {name} not found")
    return name, asked.platform.settings.node_groups[name]


@WORKSPACE.on("GET", "/dedicated-node-groups/{group}")
def node_group(asked: Asked) -> Answer:
    return Answer(show(_group(*_one_group(asked))))


@WORKSPACE.on("GET", "/dedicated-node-groups/{group}/nodes")
def nodes(asked: Asked) -> Answer:
    name, group = _one_group(asked)
    found = [
        Node(
            metadata=Metadata(id=node, name=node),
            spec=NodeSpec(dedicated_node_group=name, unschedulable=node in group.unschedulable),
            status=NodeStatus(status=["Ready"]),
        )
        for node in group.nodes
    ]
    return Answer([show(node) for node in found])


@WORKSPACE.on("GET", "/shapes")
def shapes(asked: Asked) -> Answer:
    return Answer([show(shape) for shape in asked.platform.settings.shapes.values()])


@WORKSPACE.on("GET", "/logs")
def logs(asked: Asked) -> Answer:
    platform, settings = asked.platform, asked.platform.settings
    query = {name: values[0] for name, values in asked.query.items()}
    if ("start" in query) != ("end" in query) or "0" in (query.get("start"), query.get("end")):
        raise Refused(400, "InvalidRequest", "start and end go together and are not 0")
    until = platform.clock.nanos() - int(settings.log_lag * 1e9)
    return Answer(history(list(_lines(asked, query)), query, until=until, most=settings.max_log_lines))


def _lines(asked: Asked, query: dict[str, str]) -> Iterable[Line]:
    platform = asked.platform
    family = "endpoint" if platform.settings.new_api else "deployment"
    if job := query.get("job"):
        records = [platform.jobs.get(job, query.get("job_query_mode", "alive_and_archive"))]
    elif run := query.get("job_history_name"):
        records = [platform.jobs.get(run.rpartition("-")[0])]
    elif name := query.get(family):
        return platform.endpoints.get(name).log.lines
    else:
        raise Refused(400, "InvalidRequest", f"job, {family} or job_history_name is needed")
    kept = [
        record for record in records if not (record.job.spec.log and record.job.spec.log.enable_collection is False)
    ]
    return [line for record in kept for line in record.log.lines]
