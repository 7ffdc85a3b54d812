"""Injected faults."""

from __future__ import annotations

import pytest
import requests
from leptonai.api.v2.api_resource import ClientError, ServerError
from leptonai.api.v2.client import APIClient
from leptonai.api.v2.log import LogAPIError
from tests.doubles.lepton.faults import Fault
from tests.doubles.lepton.server import LeptonDouble
from tests.doubles.lepton.test_jobs import create, wait_until_finished

pytestmark = pytest.mark.slow


def test_faults_apply_to_matching_requests_in_order(double: LeptonDouble, client: APIClient) -> None:
    double.faults += [
        Fault("GET /jobs", 500, skip=1),
        Fault("GET /jobs", 429, headers={"Retry-After": "7"}),
        Fault("GET /jobs", 403),
        Fault("GET /jobs", 401),
    ]
    assert client.job.list_all(page=1) == []
    with pytest.raises(ServerError, match="500"):
        client.job.list_all()
    with pytest.raises(ClientError, match="429") as raised:
        client.job.list_all()
    assert raised.value.response.headers["Retry-After"] == "7"
    for status in ("403", "401"):
        with pytest.raises(ClientError, match=status):
            client.job.list_all()
    assert client.job.list_all() == []


def test_a_response_can_be_lost_after_or_before_processing(double: LeptonDouble, client: APIClient) -> None:
    double.faults += [Fault("POST /jobs", None, after=True), Fault("POST /jobs", None)]
    with pytest.raises(requests.ConnectionError):
        create(client, "true")
    assert len(double.jobs.named("eval-1")) == 1
    with pytest.raises(requests.ConnectionError):
        create(client, "true", name="eval-2")
    assert double.jobs.named("eval-2") == []


def test_a_silent_server_causes_a_timeout(double: LeptonDouble, client: APIClient) -> None:
    double.faults.append(Fault("GET /workspace", silent=True))
    with pytest.raises(requests.Timeout):
        client.info(timeout=0.2)


def test_an_expired_token_is_rejected(double: LeptonDouble, client: APIClient) -> None:
    job = create(client, "true")
    double.settings.token = "the-next-one"
    with pytest.raises(ClientError, match="401"):
        client.job.get(job)


def test_logs_can_be_late_short_and_unavailable(double: LeptonDouble, client: APIClient) -> None:
    job = create(client, "seq", "100")
    wait_until_finished(client, job)

    def lines(**parameters: object) -> list[str]:
        response = client.log.get_log(name_or_job=job, start=1, end=10**20, **parameters)
        return [line for stream in response["data"]["result"] for _, line in stream["values"]]

    assert lines(limit=3) == ["100", "99", "98"]
    assert lines(direction="forward", q="7", limit=2) == ["7", "17"]
    double.settings.max_log_lines = 10
    assert len(lines()) == 10
    double.settings.log_lag = 60
    assert lines() == []
    double.advance(61)
    assert len(lines()) == 10
    double.faults += [Fault("GET /logs", 429, headers={"Retry-After": "3"}), Fault("GET /logs", cut=20)]
    with pytest.raises(LogAPIError) as raised:
        lines()
    assert (raised.value.status_code, raised.value.retry_after) == (429, 3)
    with pytest.raises(requests.exceptions.RequestException):
        lines()


def test_a_log_stream_can_break(double: LeptonDouble, client: APIClient) -> None:
    job = create(client, "seq", "100")
    wait_until_finished(client, job)
    double.faults.append(Fault("GET /jobs/.*/log", cut=10))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(client.job.get_log(job, client.job.get_replicas(job)[0], timeout=5))
