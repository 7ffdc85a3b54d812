"""Endpoints: why they are not ready, waking them, and that none is ever left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.doubles.lepton.faults import Fault
from tests.support.lepton_jobs import Bench, leaves, served, wait
from tests.support.local_jobs import INVOCATION

from nel_action.executors.lepton import status as observe
from nel_action.executors.lepton.executor import LeptonExecutor
from nel_action.model.job import Attempt, JobState, JobStatus, Reason
from nel_action.planning.jobs import Job

pytestmark = pytest.mark.lepton

WAITS = "import time; time.sleep(600)"


@pytest.fixture(params=[False, True], ids=["deployments", "endpoints"])
def family(bench: Bench, request: pytest.FixtureRequest) -> bool:
    """The platform's older and newer routes."""
    from leptonai.api.v2.client import reset_new_deployment_api_flag_cache

    reset_new_deployment_api_flag_cache()
    bench.double.settings.new_api = bool(request.param)
    return bool(request.param)


def look(executor: LeptonExecutor, attempt: Attempt, until: Callable[[JobStatus], bool]) -> JobStatus:
    """Poll until that is seen."""
    deadline = time.monotonic() + 30
    while not until(status := executor.poll([attempt])[attempt.key]):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def submitted(bench: Bench, script: str = WAITS, **fields: Any) -> tuple[LeptonExecutor, Job, Attempt]:  # noqa: ANN401
    """Submit a job with an endpoint."""
    executor = bench.executor()
    job = bench.job("alpha", script, deployment=served(bench.root / "server", **fields))
    return executor, job, executor.submit(job, 1, INVOCATION)


def ended(bench: Bench, executor: LeptonExecutor, attempt: Attempt) -> None:
    """End it, and see that nothing is left."""
    executor.cancel([attempt])
    assert not bench.double.endpoints.records
    assert not bench.double.settings.secrets


@pytest.mark.usefixtures("family")
def test_tasks_share_one_endpoint_with_a_token_of_its_own(bench: Bench) -> None:
    ask = """
import urllib.error, urllib.request
request = urllib.request.Request(os.environ["NEL_URL"], b"{}")
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    print("without a token:", error.code, flush=True)
request.add_header("Authorization", "Bearer " + os.environ[os.environ["NEL_API_KEY_NAME"]])
print(urllib.request.urlopen(request).read().decode(), os.environ[os.environ["NEL_API_KEY_NAME"]], flush=True)
"""
    deployment = served(bench.root / "server")
    jobs = [bench.job(name, leaves(name, then=ask), deployment=deployment) for name in ("alpha", "beta")]
    executor = bench.executor()
    attempts = [executor.submit(job, 1, INVOCATION) for job in jobs]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    assert [started.kind for started in bench.double.started].count("endpoint") == 1
    assert not bench.double.endpoints.records
    assert not bench.double.settings.secrets
    said = list(executor.logs(attempts[0], follow=False))
    assert "without a token: 401" in said
    assert next(line for line in said if "/v1/chat/completions" in line).endswith("***")


def test_why_an_endpoint_is_not_ready_is_told(bench: Bench, family: bool) -> None:  # noqa: FBT001
    bench.double.settings.no_capacity.add("gpu.a10")
    executor, _, attempt = submitted(bench)
    status = look(executor, attempt, lambda one: "not ready" in (one.detail or ""))
    word = "Not Ready" if family else "no machine of its shape is free (no capacity for gpu.a10)"
    assert word in (status.detail or "")
    ended(bench, executor, attempt)


def test_a_server_that_cannot_start_ends_its_jobs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "STUCK", 0.2)
    bench.double.settings.missing_images.add("img:server")
    executor, job, attempt = submitted(bench)
    status = wait(executor, [attempt])[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "failed to pull image img:server" in (status.detail or "")
    assert not bench.double.endpoints.records


@pytest.mark.usefixtures("family")
def test_an_endpoint_that_fell_asleep_is_woken(bench: Bench) -> None:
    executor, _, attempt = submitted(bench)
    look(executor, attempt, lambda _: any(one.ready for one in bench.double.endpoints.records.values()))
    bench.double.advance(3600)
    look(executor, attempt, lambda one: "was woken" in (one.detail or ""))
    look(executor, attempt, lambda _: any(one.ready for one in bench.double.endpoints.records.values()))
    assert [started.kind for started in bench.double.started].count("endpoint") == 2
    ended(bench, executor, attempt)


def test_a_kept_endpoint_serves_the_next_run_too(bench: Bench) -> None:
    executor, job, attempt = submitted(bench, leaves(), config={"keep": True, "endpoint_name": "Mine.Own"})
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    (name,) = bench.double.endpoints.records
    assert name.startswith("mine-own-")
    bench.double.advance(3600)
    assert not bench.double.running(), "it sleeps when nobody asks"
    other = bench.executor()
    again = bench.job("beta", leaves(), deployment=job.deployment)
    assert wait(other, [other.submit(again, 1, "f" * 16)])[again.key].state is JobState.SUCCEEDED
    assert list(bench.double.endpoints.records) == [name]
    bench.double.advance(3600)


def test_who_comes_later_takes_the_endpoint_of_a_lost_runner_down(bench: Bench) -> None:
    _, job, attempt = submitted(bench, leaves())
    look_only = bench.executor()
    deadline = time.monotonic() + 30
    while bench.double.jobs.get(attempt.backend_id).finished is None:
        bench.double.settle()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert bench.double.endpoints.records
    bench.double.advance(1000)
    assert look_only.poll([attempt])[job.key].state is JobState.UNKNOWN, "somebody may just be submitting another job"
    observer = look_only.observer
    observer.clock = bench.double.clock.now
    assert look_only.poll([attempt])[job.key].state is JobState.SUCCEEDED
    assert not bench.double.endpoints.records


def test_an_endpoint_without_a_job_is_swept(bench: Bench) -> None:
    bench.double.faults.append(Fault("POST /jobs", status=400, times=9))
    executor = bench.executor()
    job = bench.job("alpha", WAITS, deployment=served(bench.root / "server"))
    with pytest.raises(Exception, match="injected"):
        executor.submit(job, 1, INVOCATION)
    assert bench.double.endpoints.records
    later = bench.executor()
    later.find([job.key])
    assert bench.double.endpoints.records, "whoever made it may be about to submit a job"
    later._endpoints.clock = lambda: time.time() + 1000
    later.find([job.key])
    assert not bench.double.endpoints.records


def test_releasing_an_invocation_takes_its_endpoints_down(bench: Bench) -> None:
    bench.double.faults.append(Fault("POST /jobs", status=400, times=9))
    executor = bench.executor()
    with pytest.raises(Exception, match="injected"):
        executor.submit(bench.job("alpha", WAITS, deployment=served(bench.root / "server")), 1, INVOCATION)
    bench.executor().release("f" * 16)
    assert bench.double.endpoints.records
    bench.executor().release(INVOCATION)
    assert not bench.double.endpoints.records


def test_releasing_an_invocation_ends_jobs_that_were_never_noted(bench: Bench) -> None:
    _, _, attempt = submitted(bench)
    bench.executor().release(INVOCATION)
    assert bench.double.jobs.get(attempt.backend_id).state.value == "Stopped"
    assert not bench.double.endpoints.records


def test_an_end_is_told_only_when_the_endpoint_is_gone(bench: Bench) -> None:
    executor, job, attempt = submitted(bench, leaves())
    bench.double.faults.append(Fault("DELETE /deployments", status=400, times=2))
    states: list[JobStatus] = []
    deadline = time.monotonic() + 30
    while not states or not states[-1].state.final:
        assert time.monotonic() < deadline
        states.append(executor.poll([attempt])[job.key])
        time.sleep(0.05)
    assert any("is still there" in (status.detail or "") for status in states)
    assert states[-1].state is JobState.SUCCEEDED
    assert not bench.double.endpoints.records


def test_a_lost_answer_makes_no_second_endpoint(bench: Bench) -> None:
    bench.double.faults.append(Fault("POST /deployments", status=None, after=True))
    executor, job, attempt = submitted(bench, leaves())
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    assert [started.kind for started in bench.double.started].count("endpoint") == 1
    assert not bench.double.endpoints.records
