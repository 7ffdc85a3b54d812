"""Jobs of the double, used through the SDK."""

from __future__ import annotations

import time
from typing import Any

import pytest
from leptonai.api.v2.api_resource import ClientError
from leptonai.api.v2.client import APIClient
from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.deployment import EnvValue, EnvVar, LeptonContainer, Mount, QueueConfig
from leptonai.api.v2.types.job import LeptonJob, LeptonJobUserSpec
from tests.doubles.lepton.server import LeptonDouble

pytestmark = pytest.mark.slow


def spec(*command: str, **fields: object) -> LeptonJobUserSpec:
    container = LeptonContainer(image="img:1", command=list(command))
    return LeptonJobUserSpec(resource_shape="cpu.small", container=container, **fields)


def create(client: APIClient, *command: str, name: str = "eval-1", **fields: object) -> str:
    """Create a job; return its id."""
    labels = {"nel-action-key": name}
    job = client.job.create(LeptonJob(metadata=Metadata(name=name, labels=labels), spec=spec(*command, **fields)))
    return str(job.metadata.id_)


def wait_until_finished(client: APIClient, job: str) -> list[str]:
    """Wait until a job has finished; return its states in order."""
    states: list[str] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = client.job.get(job).status.state.value
        if states[-1:] != [state]:
            states.append(state)
        if state in {"Completed", "Failed", "Stopped", "Archived"}:
            return states
        time.sleep(0.01)
    raise AssertionError(states)


def stored_lines(client: APIClient, job: str) -> list[str]:
    """Return the lines that the log service has stored."""
    response = client.log.get_log(name_or_job=job, start=1, end=10**20, direction="forward")
    return [line for stream in response["data"]["result"] for _, line in stream["values"]]


def test_a_job_has_its_variables_secrets_and_mounts(double: LeptonDouble, client: APIClient) -> None:
    double.settings.secrets["key"] = "s3cr3t"
    (double.settings.volumes["node-nfs:fs"] / "runs/in").mkdir(parents=True)
    (double.settings.volumes["node-nfs:fs"] / "runs/in/file").write_text("from the volume")
    job = create(
        client,
        "bash",
        "-c",
        'echo "$A ${#KEY} $LEPTON_JOB_NAME $(cat /srv/results/deep/in/file)" && echo done > /srv/results/deep/out',
        envs=[EnvVar(name="A", value="it's b"), EnvVar(name="KEY", value_from=EnvValue(secret_name_ref="key"))],
        mounts=[Mount(**{"from": "node-nfs:fs", "path": "/runs", "mount_path": "/srv/results/deep"})],
    )
    assert wait_until_finished(client, job)[-1] == "Completed"
    assert stored_lines(client, job) == [f"it's b 6 {job} from the volume"]
    assert (double.settings.volumes["node-nfs:fs"] / "runs/out").read_text() == "done\n"


def test_delays_last_a_number_of_requests(double: LeptonDouble, client: APIClient) -> None:
    double.settings.delays.queueing = 2
    double.settings.delays.starting = 2
    job = create(client, "sh", "-c", "read never < /proc/self/fd/9 2>/dev/null; exec sleep 600")
    states = [client.job.get(job).status.state.value for _ in range(5)]
    assert states == ["Queueing", "Queueing", "Starting", "Starting", "Running"]
    assert [started.id for started in double.started] == [job]


def test_a_failed_job_is_restarted_and_has_a_history(double: LeptonDouble, client: APIClient) -> None:
    job = create(client, "sh", "-c", "echo try; exit 3", max_failure_retry=1, max_job_failure_retry=1)
    assert wait_until_finished(client, job)[-1] == "Failed"
    status = client.job.get(job).status
    assert (status.failed, status.succeeded, [past.state.value for past in status.job_history]) == (1, 0, ["Failed"])
    assert stored_lines(client, job) == ["try"] * 3
    assert [started.run for started in double.started] == [1, 2, 3]
    response = client.log.get_log(job_history_name=status.job_history[0].job_name)
    assert [len(stream["values"]) for stream in response["data"]["result"]] == [2]


def test_stopping_a_job_stops_all_its_processes_and_can_be_undone(double: LeptonDouble, client: APIClient) -> None:
    script = "trap 'echo asked; exit 0' TERM; (setsid sleep 300 &) ; echo up; while :; do sleep 0.05; done"
    job = create(client, "bash", "-c", script)
    replica = client.job.get_replicas(job)[0]
    stream = client.job.get_log(job, replica, timeout=20)
    assert next(stream) == "up\n"
    assert client.job.update(job, spec={"spec": {"stopped": True}})
    assert "".join(stream) == "asked\n"
    assert client.job.get(job).status.state.value == "Stopped"
    assert double.running() == []
    client.job.update(job, spec={"spec": {"stopped": False}})
    assert client.job.get(job).status.state.value == "Running"
    assert [started.run for started in double.started] == [1, 2]


def test_an_expired_job_is_in_the_archive_only(double: LeptonDouble, client: APIClient) -> None:
    job = create(client, "echo", "hello", ttl_seconds_after_finished=3600)
    wait_until_finished(client, job)
    double.advance(3500)
    assert [each.metadata.id_ for each in client.job.list_all()] == [job]
    double.advance(200)
    assert client.job.list_all() == []
    [archived] = client.job.list_all(job_query_mode="alive_and_archive")
    assert (archived.status.state.value, archived.status.succeeded) == ("Archived", 1)
    with pytest.raises(ClientError, match="404"):
        client.job.get(job, job_query_mode="alive_only")
    assert stored_lines(client, job) == ["hello"]
    assert client.job.get_replicas(job) == []


def test_a_deleted_job_is_archived_until_it_is_deleted_there(double: LeptonDouble, client: APIClient) -> None:
    job = create(client, "sleep", "600")
    assert client.job.delete(job)
    assert double.running() == []
    assert client.job.get(job).status.state.value == "Deleted"
    assert client.job.delete(job, job_query_mode="alive_and_archive")
    with pytest.raises(ClientError, match="404"):
        client.job.get(job)


def test_a_preempted_job_is_started_again(double: LeptonDouble, client: APIClient) -> None:
    double.settings.delays.queueing = 1
    job = create(client, "sleep", "600", queue_config=QueueConfig(priority_class="low-1000", can_be_preempted=True))
    assert [client.job.get(job).status.state.value for _ in range(2)] == ["Queueing", "Running"]
    double.jobs.preempt(double.jobs.get(job))
    assert [client.job.get(job).status.state.value for _ in range(2)] == ["Queueing", "Running"]
    assert [started.run for started in double.started] == [1, 2]
    assert len(client.job.get(job).status.job_history) == 1


def test_a_job_above_the_quota_is_queued(double: LeptonDouble, client: APIClient) -> None:
    double.settings.quota = (1, 8192, 0)
    first, second = create(client, "sleep", "600"), create(client, "sleep", "600", name="eval-2")
    states = [client.job.get(job).status.state.value for job in (first, second)]
    assert states == ["Running", "Queueing"]
    assert client.info().resource_quota.used.cpu == 1
    client.job.delete(first)
    assert client.job.get(second).status.state.value == "Running"


def test_a_job_with_a_missing_image_keeps_starting(double: LeptonDouble, client: APIClient) -> None:
    double.settings.missing_images.add("img:1")
    job = create(client, "true")
    assert client.job.get(job).status.state.value == "Starting"
    assert client.job.get_events(job)[-1].reason == "ErrImagePull"
    assert double.started == []


def test_listings_are_paginated_and_filtered(double: LeptonDouble, client: APIClient) -> None:
    double.settings.max_page = 2
    jobs = [create(client, "true", name=f"eval-{number}") for number in range(5)]
    assert sorted(each.metadata.id_ for each in client.job.list_all()) == jobs
    assert len(double.requests("GET", "/jobs?")) == 4
    assert [each.metadata.id_ for each in client.job.list_all(query="nel-action-key=eval-3")] == [jobs[3]]
    assert [each.metadata.id_ for each in client.job.list_all(q="eval-4")] == [jobs[4]]
    assert client.job.list_all(status=["Failed"]) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"envs": [EnvVar(name="X", value_from=EnvValue(secret_name_ref="none"))]}, "secret none not found"),
        ({"mounts": [Mount(**{"from": "node-nfs:other", "mount_path": "/x"})]}, "volume node-nfs:other not found"),
        ({"affinity": {"allowed_dedicated_node_groups": ["nowhere"]}}, "node group 'nowhere' not found"),
    ],
)
def test_a_job_with_unknown_references_is_rejected(client: APIClient, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        create(client, "true", name="eval-1", **fields)


def test_a_field_that_the_sdk_does_not_have_is_rejected(client: APIClient) -> None:
    body = {"metadata": {"name": "a"}, "spec": {"container": {"image": "i", "comand": ["true"]}, "timeout": 3}}
    response = client._post("/jobs", json=body)
    assert response.status_code == 400
    assert "LeptonJob has no spec.container.comand, spec.timeout" in response.json()["message"]
