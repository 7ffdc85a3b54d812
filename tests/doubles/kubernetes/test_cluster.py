"""The double of a cluster, used through the official client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from tests.doubles.kubernetes.server import Cluster, cluster
from tests.doubles.lepton.container import can_contain
from tests.support.require import require

pytestmark = pytest.mark.slow


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Cluster]:
    require("package", can_contain(), "creating namespaces (unshare) is not permitted")
    with cluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def api(double: Cluster) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(config_file=str(double.kubeconfig)) as api_client:
        yield api_client


def job(name: str, *command: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401
    container = {"name": "main", "image": "img:1", "command": list(command)} | spec.pop("container", {})
    pod = {"restartPolicy": "Never", "containers": [container]}
    template = {"metadata": {"labels": {"app": "test"}}, "spec": pod}
    metadata = {"name": name, "labels": {"app": "test"}}
    body = {"metadata": metadata, "spec": {"backoffLimit": 0, "template": template} | spec}
    return {"apiVersion": "batch/v1", "kind": "Job"} | body


def wait_for_condition(api: client.ApiClient, name: str) -> str:
    """Wait until a Job has a condition; return its type and reason."""
    deadline = time.monotonic() + 20
    while True:
        status = client.BatchV1Api(api).read_namespaced_job(name, "evals").status
        for condition in status.conditions or []:
            return f"{condition.type} {condition.reason}"
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def test_jobs_complete_fail_and_exceed_their_deadline(api: client.ApiClient, double: Cluster) -> None:
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    environ = {"env": [{"name": "A", "value": "$$(B) $(NOT)"}]}
    batch.create_namespaced_job("evals", job("good", "sh", "-c", 'echo "$A" "$0"', "$(A)", container=environ))
    batch.create_namespaced_job("evals", job("bad", "false"))
    batch.create_namespaced_job("evals", job("slow", "sleep", "600", activeDeadlineSeconds=1))
    conditions = [wait_for_condition(api, name) for name in ("good", "bad", "slow")]
    assert conditions == ["Complete CompletionsReached", "Failed BackoffLimitExceeded", "Failed DeadlineExceeded"]
    pods = core.list_namespaced_pod("evals", label_selector="app=test").items
    assert sorted(pod.status.phase for pod in pods) == ["Failed", "Succeeded"]
    assert core.read_namespaced_pod_log("good-x7k2p", "evals", container="main") == "$(B) $(NOT) $(B) $(NOT)\n"
    assert double.controller.started == ["good", "bad", "slow"]


def test_duplicate_names_unknown_fields_and_wrong_tokens_are_rejected(api: client.ApiClient, double: Cluster) -> None:
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job("evals", job("first", "true"), dry_run="All")
    assert batch.list_namespaced_job("evals").items == []
    batch.create_namespaced_job("evals", job("first", "true"))
    with pytest.raises(ApiException, match="409"):
        batch.create_namespaced_job("evals", job("first", "true"))
    url = f"{api.configuration.host}/apis/batch/v1/namespaces/evals/jobs"
    headers = {"Authorization": f"Bearer {double.token}"}
    response = requests.post(url, json=job("second", "true", parallelsim=2), headers=headers, timeout=10)
    assert response.status_code == 422
    assert "parallelsim" in response.json()["message"]
    double.token = "another"
    with pytest.raises(ApiException, match="401"):
        batch.list_namespaced_job("evals")


def test_a_pod_waits_for_its_secret(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    reference = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "key"}}}
    body = job("first", "sh", "-c", 'test "$KEY" = value', container={"env": [reference]})
    client.BatchV1Api(api).create_namespaced_job("evals", body)
    deadline = time.monotonic() + 20
    while not (pods := core.list_namespaced_pod("evals").items) or not pods[0].status.container_statuses:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    waiting = pods[0].status.container_statuses[0].state.waiting
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", 'secret "creds" not found')
    secret = {"metadata": {"name": "creds"}, "data": {"key": "dmFsdWU="}}
    core.create_namespaced_secret("evals", secret)
    assert wait_for_condition(api, "first") == "Complete CompletionsReached"


def test_suspending_a_job_deletes_its_pods(api: client.ApiClient, double: Cluster) -> None:
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    batch.create_namespaced_job("evals", job("first", "sleep", "600"))
    deadline = time.monotonic() + 20
    while not core.list_namespaced_pod("evals").items:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    batch.patch_namespaced_job("first", "evals", {"spec": {"suspend": True}})
    assert wait_for_condition(api, "first") == "Suspended JobSuspended"
    assert core.list_namespaced_pod("evals").items == []
    batch.delete_namespaced_job("first", "evals")
    assert double.store.objects["jobs"] == {}
