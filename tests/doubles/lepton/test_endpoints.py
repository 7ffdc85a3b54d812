"""Endpoints of the double, used through the SDK with both endpoint APIs."""

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

pytestmark = pytest.mark.slow

SERVER = [sys.executable, "-u", "-m", "http.server", "8000", "--bind", "127.0.0.1"]


@pytest.fixture(params=[False, True], ids=["deployments", "endpoints"], autouse=True)
def new_api(request: pytest.FixtureRequest, double: LeptonDouble) -> None:
    double.settings.new_api = request.param


def deployment(*command: str, name: str = "serve", shape: str = "cpu.large", **fields: object) -> LeptonDeployment:
    spec = LeptonDeploymentUserSpec(
        container=LeptonContainer(
            image="server:1", command=list(command or SERVER), ports=[ContainerPort(container_port=8000)]
        ),
        resource_requirement=ResourceRequirement(resource_shape=shape, min_replicas=1, max_replicas=1),
        auto_scaler=AutoScaler(scale_down=ScaleDown(no_traffic_timeout=600, not_ready_timeout=1800)),
        **fields,
    )
    return LeptonDeployment(metadata=Metadata(name=name), spec=spec)


def wait_for_state(client: APIClient, state: str) -> LeptonDeployment:
    """Wait until the endpoint has a state; return the endpoint."""
    deadline = time.monotonic() + 20
    while (endpoint := client.deployment.get("serve")).status.phase.value != state:
        assert time.monotonic() < deadline, endpoint.status
        time.sleep(0.01)
    return endpoint


def http_status(client: APIClient, **headers: str) -> int:
    """Return the status of a request to the endpoint's public address."""
    url = client.deployment.get("serve").status.endpoint.external_endpoint
    return requests.get(f"{url}/", headers=headers, timeout=10).status_code


def test_an_endpoint_serves_requests_with_its_tokens_until_it_is_deleted(
    double: LeptonDouble, client: APIClient
) -> None:
    double.settings.tokens["team"] = "t0ken"
    double.settings.delays.starting = 3  # keeps it from being ready, even on a fast machine
    tokens = [TokenVar(value_from=TokenValue(token_name_ref="team"))]
    created = client.deployment.create_with_response(deployment(api_tokens=tokens))
    assert created.status.state.value == "Starting"
    assert http_status(client, Authorization="Bearer t0ken") == 503
    wait_for_state(client, "Ready")
    assert http_status(client) == 401
    assert http_status(client, Authorization="Bearer t0ken") == 200
    assert [each.metadata.name for each in client.deployment.list_all()] == ["serve"]
    replica = client.deployment.get_replicas("serve")[0]
    assert next(client.deployment.get_log("serve", replica, timeout=10)).startswith("Serving HTTP on")
    with pytest.raises(ClientError, match="409"):
        client.deployment.create_with_response(deployment(allow_unauthenticated_access=True))
    assert client.deployment.delete("serve")
    assert (double.running(), double.endpoints.deleted) == ([], ["serve"])
    with pytest.raises(ClientError, match="404"):
        client.deployment.get("serve")


def test_an_idle_endpoint_scales_to_zero_until_it_is_woken(double: LeptonDouble, client: APIClient) -> None:
    client.deployment.create_with_response(deployment())
    wait_for_state(client, "Ready")
    double.advance(500)
    assert http_status(client) == 200
    double.advance(500)
    assert wait_for_state(client, "Ready")
    double.advance(200)
    asleep = wait_for_state(client, "Stopped")
    assert (asleep.status.state.value, asleep.status.autoscaler_status.desired_replicas) == ("Not Ready", 0)
    assert http_status(client) == 503
    assert double.running() == []
    patch = LeptonDeployment(spec=LeptonDeploymentUserSpec(resource_requirement=ResourceRequirement(min_replicas=1)))
    client.deployment.update("serve", patch)
    wait_for_state(client, "Ready")
    assert http_status(client) == 200
    assert [started.run for started in double.started] == [1, 2]


def test_stopping_scales_to_zero(double: LeptonDouble, client: APIClient) -> None:
    client.deployment.create_with_response(deployment())
    wait_for_state(client, "Ready")
    assert client.deployment.stop("serve").spec.resource_requirement.min_replicas == 0
    wait_for_state(client, "Stopped")
    assert double.running() == []


def test_a_crashed_server_is_restarted(double: LeptonDouble, client: APIClient) -> None:
    client.deployment.create_with_response(deployment("sh", "-c", "echo no model; exit 4"))
    wait_for_state(client, "Not Ready")
    while len(double.started) < 2:
        client.deployment.get("serve")
    if double.settings.new_api:
        assert client.deployment.get_events("serve")[0].type_ == "Warning"
        return
    wait_for_state(client, "Not Ready")
    [[termination, *_]] = client.deployment.get_termination("serve").root.values()
    assert termination.exit_code == 4
    [[issue]] = client.deployment.get_readiness("serve").root.values()
    assert (issue.reason.value, issue.message) == ("ConfigError", "the container exited with 4; restarting")


@pytest.mark.parametrize(
    ("cause", "reason"), [("capacity", "NoCapacity"), ("quota", "Queueing"), ("image", "ConfigError")]
)
def test_an_endpoint_that_cannot_start_reports_the_reason(
    double: LeptonDouble, client: APIClient, cause: str, reason: str
) -> None:
    match cause:
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


def test_a_generated_token_is_returned_only_once(double: LeptonDouble, client: APIClient) -> None:
    double.settings.secure_defaults = True
    created = client.deployment.create_with_response(deployment())
    [token] = created.spec.api_tokens
    wait_for_state(client, "Ready")
    assert client.deployment.get("serve").spec.api_tokens[0].value == "***"
    assert http_status(client) == 401
    assert http_status(client, Authorization=f"Bearer {token.value}") == 200


def test_delays_last_a_number_of_requests(double: LeptonDouble, client: APIClient) -> None:
    double.settings.delays.starting = 3
    double.settings.delays.deleting = 2
    client.deployment.create_with_response(deployment())
    for _ in range(3):
        assert double.started == []
        client.deployment.get("serve")
    wait_for_state(client, "Ready")
    client.deployment.delete("serve")
    assert [client.deployment.get("serve").status.state.value for _ in range(2)] == ["Deleting"] * 2
    assert client.deployment.list_all() == []
