"""Endpoints: readiness, waking, and their deletion in every case."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.doubles.lepton.faults import Fault
from tests.support.lepton_jobs import LeptonBench, scoring_script, tiny_deployment, wait
from tests.support.local_jobs import INVOCATION

from nel_action.executors.interface import find_attempts, poll_attempts
from nel_action.executors.lepton import status as status_module
from nel_action.executors.lepton.executor import LeptonExecutor
from nel_action.model.job import Attempt, JobState, JobStatus, Reason
from nel_action.planning.jobs import Job

pytestmark = [pytest.mark.slow, pytest.mark.lepton]

SLEEP = "import time; time.sleep(600)"


@pytest.fixture(params=[False, True], ids=["deployments", "endpoints"])
def new_api(bench: LeptonBench, request: pytest.FixtureRequest) -> bool:
    """Whether the platform has the newer of its two endpoint APIs."""
    from leptonai.api.v2.client import reset_new_deployment_api_flag_cache

    reset_new_deployment_api_flag_cache()
    bench.double.settings.new_api = bool(request.param)
    return bool(request.param)


def poll_until(executor: LeptonExecutor, attempt: Attempt, condition: Callable[[JobStatus], bool]) -> JobStatus:
    """Poll and reconcile until the status meets a condition; return it."""
    deadline = time.monotonic() + 30
    while not condition(status := poll_attempts(executor, [attempt])[attempt.key]):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def submit(bench: LeptonBench, script: str = SLEEP, **fields: Any) -> tuple[LeptonExecutor, Job, Attempt]:  # noqa: ANN401
    """Submit a job that needs an endpoint."""
    executor = bench.executor()
    job = bench.job("alpha", script, deployment=tiny_deployment(bench.root / "server", **fields))
    return executor, job, executor.submit(job, 1, INVOCATION)


def cancel(bench: LeptonBench, executor: LeptonExecutor, attempt: Attempt) -> None:
    """Cancel an attempt; its endpoint and secrets must be deleted."""
    executor.cancel([attempt])
    assert not bench.double.endpoints.records
    assert not bench.double.settings.secrets


@pytest.mark.usefixtures("new_api")
def test_an_endpoint_accepts_only_its_own_token_which_is_redacted(bench: LeptonBench) -> None:
    query = """
import urllib.error, urllib.request
request = urllib.request.Request(os.environ["NEL_URL"], b"{}")
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    print("without a token:", error.code, flush=True)
request.add_header("Authorization", "Bearer " + os.environ[os.environ["NEL_API_KEY_NAME"]])
print(urllib.request.urlopen(request).read().decode(), os.environ[os.environ["NEL_API_KEY_NAME"]], flush=True)
"""
    deployment = tiny_deployment(bench.root / "server")
    jobs = [bench.job(name, scoring_script(name, extra=query), deployment=deployment) for name in ("alpha", "beta")]
    executor = bench.executor()
    attempts = [executor.submit(job, 1, INVOCATION) for job in jobs]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    assert [started.kind for started in bench.double.started].count("endpoint") == 1
    assert not bench.double.endpoints.records
    assert not bench.double.settings.secrets
    lines = list(executor.logs(attempts[0], follow=False))
    assert "without a token: 401" in lines
    assert next(line for line in lines if "/v1/chat/completions" in line).endswith("***")


def test_poll_explains_why_an_endpoint_is_not_ready(bench: LeptonBench, new_api: bool) -> None:  # noqa: FBT001
    bench.double.settings.no_capacity.add("gpu.a10")
    executor, _, attempt = submit(bench)
    status = poll_until(executor, attempt, lambda status: "not ready" in (status.detail or ""))
    explanation = "Not Ready" if new_api else "no machine of its shape is available (no capacity for gpu.a10)"
    assert explanation in (status.detail or "")
    cancel(bench, executor, attempt)


def test_jobs_fail_when_their_server_cannot_start(bench: LeptonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "STUCK_SECONDS", 0.2)
    bench.double.settings.missing_images.add("img:server")
    executor, job, attempt = submit(bench)
    status = wait(executor, [attempt])[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "failed to pull image img:server" in (status.detail or "")
    assert not bench.double.endpoints.records


@pytest.mark.usefixtures("new_api")
def test_reconcile_wakes_an_endpoint_that_active_jobs_need(bench: LeptonBench) -> None:
    executor, _, attempt = submit(bench)
    poll_until(executor, attempt, lambda _: any(each.ready for each in bench.double.endpoints.records.values()))
    bench.double.advance(3600)
    poll_until(executor, attempt, lambda status: "has been woken" in (status.detail or ""))
    poll_until(executor, attempt, lambda _: any(each.ready for each in bench.double.endpoints.records.values()))
    assert [started.kind for started in bench.double.started].count("endpoint") == 2
    cancel(bench, executor, attempt)


def test_a_kept_endpoint_serves_the_next_invocation(bench: LeptonBench) -> None:
    executor, job, attempt = submit(bench, scoring_script(), config={"keep": True, "endpoint_name": "Mine.Own"})
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    (name,) = bench.double.endpoints.records
    assert name.startswith("mine-own-")
    bench.double.advance(3600)
    assert not bench.double.running(), "an idle endpoint is scaled to zero"
    other = bench.executor()
    again = bench.job("beta", scoring_script(), deployment=job.deployment)
    assert wait(other, [other.submit(again, 1, "f" * 16)])[again.key].state is JobState.SUCCEEDED
    assert list(bench.double.endpoints.records) == [name]
    bench.double.advance(3600)


def test_another_process_deletes_the_endpoint_of_a_lost_submitter(bench: LeptonBench) -> None:
    _, job, attempt = submit(bench, scoring_script())
    other = bench.executor()
    deadline = time.monotonic() + 30
    while bench.double.jobs.get(attempt.backend_id).finished is None:
        bench.double.settle()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert bench.double.endpoints.records
    bench.double.advance(1000)
    status = poll_attempts(other, [attempt])[job.key]
    assert status.state is JobState.UNKNOWN, "the submitter may be about to submit another job"
    other.observer.clock = bench.double.clock.now
    assert poll_attempts(other, [attempt])[job.key].state is JobState.SUCCEEDED
    assert not bench.double.endpoints.records


def test_sweep_deletes_an_abandoned_endpoint(bench: LeptonBench) -> None:
    bench.double.faults.append(Fault("POST /jobs", status=400, times=9))
    executor = bench.executor()
    job = bench.job("alpha", SLEEP, deployment=tiny_deployment(bench.root / "server"))
    with pytest.raises(Exception, match="injected"):
        executor.submit(job, 1, INVOCATION)
    assert bench.double.endpoints.records
    later = bench.executor()
    find_attempts(later, [job.key])
    assert bench.double.endpoints.records, "its creator may be about to submit a job"
    later.endpoints.clock = lambda: time.time() + 1000
    later.find([job.key])
    assert bench.double.endpoints.records, "a query deletes nothing"
    find_attempts(later, [job.key])
    assert not bench.double.endpoints.records


def test_release_deletes_the_endpoints_of_the_invocation_only(bench: LeptonBench) -> None:
    bench.double.faults.append(Fault("POST /jobs", status=400, times=9))
    executor = bench.executor()
    with pytest.raises(Exception, match="injected"):
        executor.submit(bench.job("alpha", SLEEP, deployment=tiny_deployment(bench.root / "server")), 1, INVOCATION)
    bench.executor().release("f" * 16)
    assert bench.double.endpoints.records
    bench.executor().release(INVOCATION)
    assert not bench.double.endpoints.records


def test_release_cancels_jobs_that_were_never_recorded(bench: LeptonBench) -> None:
    _, _, attempt = submit(bench)
    bench.executor().release(INVOCATION)
    assert bench.double.jobs.get(attempt.backend_id).state.value == "Stopped"
    assert not bench.double.endpoints.records


def test_an_attempt_is_final_only_when_its_endpoint_is_deleted(bench: LeptonBench) -> None:
    executor, job, attempt = submit(bench, scoring_script())
    bench.double.faults.append(Fault("DELETE /deployments", status=400, times=2))
    statuses: list[JobStatus] = []
    deadline = time.monotonic() + 30
    while not statuses or not statuses[-1].state.final:
        assert time.monotonic() < deadline
        statuses.append(poll_attempts(executor, [attempt])[job.key])
        time.sleep(0.05)
    assert any("still exists" in (status.detail or "") for status in statuses)
    assert statuses[-1].state is JobState.SUCCEEDED
    assert not bench.double.endpoints.records


def test_a_lost_response_does_not_create_a_second_endpoint(bench: LeptonBench) -> None:
    bench.double.faults.append(Fault("POST /deployments", status=None, after=True))
    executor, job, attempt = submit(bench, scoring_script())
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    assert [started.kind for started in bench.double.started].count("endpoint") == 1
    assert not bench.double.endpoints.records
