"""The double of a cluster through the official client."""

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


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Cluster]:
    require("package", can_contain(), "making namespaces (unshare) is not allowed here")
    with cluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture
def api(double: Cluster) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(config_file=str(double.kubeconfig)) as found:
        yield found


def job(name: str, *command: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401
    container = {"name": "main", "image": "img:1", "command": list(command)} | spec.pop("container", {})
    pod = {"restartPolicy": "Never", "containers": [container]}
    template = {"metadata": {"labels": {"app": "test"}}, "spec": pod}
    metadata = {"name": name, "labels": {"app": "test"}}
    body = {"metadata": metadata, "spec": {"backoffLimit": 0, "template": template} | spec}
    return {"apiVersion": "batch/v1", "kind": "Job"} | body


def ended(api: client.ApiClient, name: str) -> str:
    deadline = time.monotonic() + 20
    while True:
        found = client.BatchV1Api(api).read_namespaced_job(name, "evals").status
        for each in found.conditions or []:
            return f"{each.type} {each.reason}"
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_jobs_run_and_end(api: client.ApiClient, double: Cluster) -> None:
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    environ = {"env": [{"name": "A", "value": "$$(B) $(NOT)"}]}
    batch.create_namespaced_job("evals", job("good", "sh", "-c", 'echo "$A" "$0"', "$(A)", container=environ))
    batch.create_namespaced_job("evals", job("bad", "false"))
    batch.create_namespaced_job("evals", job("slow", "sleep", "600", activeDeadlineSeconds=1))
    ends = [ended(api, name) for name in ("good", "bad", "slow")]
    assert ends == ["Complete CompletionsReached", "Failed BackoffLimitExceeded", "Failed DeadlineExceeded"]
    pods = core.list_namespaced_pod("evals", label_selector="app=test").items
    assert sorted(pod.status.phase for pod in pods) == ["Failed", "Succeeded"]
    assert core.read_namespaced_pod_log("good-x7k2p", "evals", container="main") == "$(B) $(NOT) $(B) $(NOT)\n"
    assert double.controller.started == ["good", "bad", "slow"]


def test_a_name_is_taken_once_and_slips_are_refused(api: client.ApiClient, double: Cluster) -> None:
    batch = client.BatchV1Api(api)
    batch.create_namespaced_job("evals", job("one", "true"), dry_run="All")
    assert batch.list_namespaced_job("evals").items == []
    batch.create_namespaced_job("evals", job("one", "true"))
    with pytest.raises(ApiException, match="409"):
        batch.create_namespaced_job("evals", job("one", "true"))
    url = f"{api.configuration.host}/apis/batch/v1/namespaces/evals/jobs"
    headers = {"Authorization": f"Bearer {double.token}"}
    answer = requests.post(url, json=job("two", "true", parallelsim=2), headers=headers, timeout=10)
    assert answer.status_code == 422
    assert "parallelsim" in answer.json()["message"]
    double.token = "another"
    with pytest.raises(ApiException, match="401"):
        batch.list_namespaced_job("evals")


def test_a_pod_waits_for_its_secret(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    reference = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "key"}}}
    body = job("one", "sh", "-c", 'test "$KEY" = value', container={"env": [reference]})
    client.BatchV1Api(api).create_namespaced_job("evals", body)
    deadline = time.monotonic() + 20
    while not (pods := core.list_namespaced_pod("evals").items) or not pods[0].status.container_statuses:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    waiting = pods[0].status.container_statuses[0].state.waiting
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", 'secret "creds" not found')
    secret = {"metadata": {"name": "creds"}, "data": {"key": "dmFsdWU="}}
    core.create_namespaced_secret("evals", secret)
    assert ended(api, "one") == "Complete CompletionsReached"


def test_suspending_ends_pods(api: client.ApiClient, double: Cluster) -> None:
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    batch.create_namespaced_job("evals", job("one", "sleep", "600"))
    deadline = time.monotonic() + 20
    while not core.list_namespaced_pod("evals").items:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    batch.patch_namespaced_job("one", "evals", {"spec": {"suspend": True}})
    assert ended(api, "one") == "Suspended JobSuspended"
    assert core.list_namespaced_pod("evals").items == []
    batch.delete_namespaced_job("one", "evals")
    assert double.store.things["jobs"] == {}
