"""The workspace of the double, used through the SDK."""

from __future__ import annotations

import pytest
from leptonai.api.v2.api_resource import ClientError
from leptonai.api.v2.client import APIClient
from leptonai.api.v2.types.secret import SecretItem
from tests.doubles.lepton.server import LeptonDouble
from tests.doubles.lepton.settings import NodeGroup

pytestmark = pytest.mark.slow


def test_workspace_has_a_quota_and_features(double: LeptonDouble, client: APIClient) -> None:
    double.settings.new_api = True
    info = client.info()
    assert (info.workspace_name, info.workspace_state.value) == ("ws", "normal")
    assert (info.resource_quota.limit.accelerator_num, info.resource_quota.used.accelerator_num) == (16, 0)
    assert client.new_deployment_api_enabled


def test_listed_secrets_have_no_values(double: LeptonDouble, client: APIClient) -> None:
    assert client.secret.create([SecretItem(name="key", value="s3cr3t")])
    assert [(item.name, item.value) for item in client.secret.list_all()] == [("key", None)]
    with pytest.raises(ClientError, match="409"):
        client.secret.create([SecretItem(name="key", value="another")])
    assert double.settings.secrets == {"key": "s3cr3t"}
    assert client.secret.delete("key")
    with pytest.raises(ClientError, match="404"):
        client.secret.delete("key")


def test_node_groups_list_their_nodes_and_shapes(double: LeptonDouble, client: APIClient) -> None:
    double.settings.node_groups["ng-2"] = NodeGroup("second", nodes=("a", "b"), unschedulable=("b",))
    groups = {group.metadata.id_: group.status.ready_nodes for group in client.nodegroup.list_all()}
    assert groups == {"ng-1": 1, "ng-2": 1}
    assert [node.spec.unschedulable for node in client.nodegroup.list_nodes("ng-2")] == [False, True]
    with pytest.raises(ClientError, match="404"):
        client.nodegroup.get("ng-3")
    assert "gpu.a10" in [shape.metadata.id_ for shape in client.shapes.list_shapes(purpose="job")]
