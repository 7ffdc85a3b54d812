"""Endpoints of the double through the real SDK, in both families of routes."""

from __future__ import annotations

import sys
import time

import pytest
import requests
from leptonai.api.v2.api_resource import ClientError
from leptonai.api.v2.client import APIClient
from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.deployment import (
    AutoScaler,
    ContainerPort,
    LeptonContainer,
    LeptonDeployment,
    LeptonDeploymentUserSpec,
    ResourceRequirement,
    ScaleDown,
    TokenValue,
    TokenVar,
)
from tests.doubles.lepton.server import LeptonDouble

SERVER = [sys.executable, "-u", "-m", "http.server", "8000", "--bind", "127.0.0.1"]


@pytest.fixture(params=[False, True], ids=["deployments", "endpoints"], autouse=True)
def family(request: pytest.FixtureRequest, double: LeptonDouble) -> None:
    double.settings.new_api = request.param


def deployment(*command: str, name: str = "serve", shape: str = "cpu.large", **more: object) -> LeptonDeployment:
    spec = LeptonDeploymentUserSpec(
        container=LeptonContainer(
            image="server:1", command=list(command or SERVER), ports=[ContainerPort(container_port=8000)]
        ),
        resource_requirement=ResourceRequirement(resource_shape=shape, min_replicas=1, max_replicas=1),
        auto_scaler=AutoScaler(scale_down=ScaleDown(no_traffic_timeout=600, not_ready_timeout=1800)),
        **more,
    )
    return LeptonDeployment(metadata=Metadata(name=name), spec=spec)


def until(client: APIClient, state: str) -> LeptonDeployment:
    deadline = time.monotonic() + 20
    while (found := client.deployment.get("serve")).status.phase.value != state:
        assert time.monotonic() < deadline, found.status
        time.sleep(0.01)
    return found


def status(client: APIClient, **headers: str) -> int:
    url = client.deployment.get("serve").status.endpoint.external_endpoint
    return requests.get(f"{url}/", headers=headers, timeout=10).status_code


def test_it_serves_behind_its_tokens_until_it_is_deleted(double: LeptonDouble, client: APIClient) -> None:
    double.settings.tokens["team"] = "t0ken"
    double.settings.delays.starting = 3  # so that it is not ready yet, however fast the machine
    tokens = [TokenVar(value_from=TokenValue(token_name_ref="team"))]
    made = client.deployment.create_with_response(deployment(api_tokens=tokens))
    assert made.status.state.value == "Starting"
    assert status(client, Authorization="Bearer t0ken") == 503
    until(client, "Ready")
    assert status(client) == 401
    assert status(client, Authorization="Bearer t0ken") == 200
    assert [found.metadata.name for found in client.deployment.list_all()] == ["serve"]
    replica = client.deployment.get_replicas("serve")[0]
    assert next(client.deployment.get_log("serve", replica, timeout=10)).startswith("Serving HTTP on")
    with pytest.raises(ClientError, match="409"):
        client.deployment.create_with_response(deployment(allow_unauthenticated_access=True))
    assert client.deployment.delete("serve")
    assert (double.running(), double.endpoints.deleted) == ([], ["serve"])
    with pytest.raises(ClientError, match="404"):
        client.deployment.get("serve")


def test_nobody_asks_and_it_sleeps_until_it_is_woken(double: LeptonDouble, client: APIClient) -> None:
    client.deployment.create_with_response(deployment())
    until(client, "Ready")
    double.advance(500)
    assert status(client) == 200
    double.advance(500)
    assert until(client, "Ready")
    double.advance(200)
    asleep = until(client, "Stopped")
    assert (asleep.status.state.value, asleep.status.autoscaler_status.desired_replicas) == ("Not Ready", 0)
    assert status(client) == 503
    assert double.running() == []
    patch = LeptonDeployment(spec=LeptonDeploymentUserSpec(resource_requirement=ResourceRequirement(min_replicas=1)))
    client.deployment.update("serve", patch)
    until(client, "Ready")
    assert status(client) == 200
    assert [started.run for started in double.started] == [1, 2]


def test_stopping_scales_to_zero(double: LeptonDouble, client: APIClient) -> None:
    client.deployment.create_with_response(deployment())
    until(client, "Ready")
    assert client.deployment.stop("serve").spec.resource_requirement.min_replicas == 0
    until(client, "Stopped")
    assert double.running() == []


def test_a_server_that_crashes_is_tried_again(double: LeptonDouble, client: APIClient) -> None:
    client.deployment.create_with_response(deployment("sh", "-c", "echo no model; exit 4"))
    until(client, "Not Ready")
    while len(double.started) < 2:
        client.deployment.get("serve")
    if double.settings.new_api:
        assert client.deployment.get_events("serve")[0].type_ == "Warning"
        return
    until(client, "Not Ready")
    [[end, *_]] = client.deployment.get_termination("serve").root.values()
    assert end.exit_code == 4
    [[issue]] = client.deployment.get_readiness("serve").root.values()
    assert (issue.reason.value, issue.message) == ("ConfigError", "the container exited with 4; restarting")


@pytest.mark.parametrize(
    ("what", "reason"), [("capacity", "NoCapacity"), ("quota", "Queueing"), ("image", "ConfigError")]
)
def test_why_it_is_not_ready(double: LeptonDouble, client: APIClient, what: str, reason: str) -> None:
    match what:
        case "capacity":
            double.settings.no_capacity.add("gpu.a10")
        case "quota":
            double.settings.quota = (1, 1, 0)
        case _:
            double.settings.missing_images.add("server:1")
    client.deployment.create_with_response(deployment(shape="gpu.a10"))
    assert client.deployment.get("serve").status.state.value == "Not Ready"
    assert client.deployment.get_events("serve")[0].reason == reason
    if not double.settings.new_api:
        [[issue]] = client.deployment.get_readiness("serve").root.values()
        assert issue.reason.value == reason
    double.advance(2000)
    assert client.deployment.get("serve").status.phase.value == "Stopped"
    assert double.started == []


def test_a_generated_token_is_told_once(double: LeptonDouble, client: APIClient) -> None:
    double.settings.secure_defaults = True
    made = client.deployment.create_with_response(deployment())
    [token] = made.spec.api_tokens
    until(client, "Ready")
    assert client.deployment.get("serve").spec.api_tokens[0].value == "***"
    assert status(client) == 401
    assert status(client, Authorization=f"Bearer {token.value}") == 200


def test_delays_are_looks(double: LeptonDouble, client: APIClient) -> None:
    double.settings.delays.starting = 3
    double.settings.delays.deleting = 2
    client.deployment.create_with_response(deployment())
    for _ in range(3):
        assert double.started == []
        client.deployment.get("serve")
    until(client, "Ready")
    client.deployment.delete("serve")
    assert [client.deployment.get("serve").status.state.value for _ in range(2)] == ["Deleting"] * 2
    assert client.deployment.list_all() == []
