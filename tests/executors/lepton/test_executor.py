"""Jobs of a plan in a workspace whose double runs them as processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.lepton_jobs import LeptonBench, scoring_script, tiny_deployment, wait
from tests.support.local_jobs import INVOCATION

from nel_action.executors.interface import Maintaining
from nel_action.model.job import JobState, Reason, attempt_name

pytestmark = [pytest.mark.slow, pytest.mark.lepton]


def test_collect_returns_results_that_were_sent_through_the_log(bench: LeptonBench, tmp_path: Path) -> None:
    job = bench.job("alpha", scoring_script("hello"))
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    directory = tmp_path / "home" / "alpha"
    executor.collect(attempt, directory)
    assert json.loads((directory / "artifacts" / "scores.json").read_text())["n_items"] == 4
    assert "hello" in (directory / "logs" / "client.log").read_text()
    assert [line for line in executor.logs(attempt, follow=False) if line == "hello"]


def test_jobs_with_one_deployment_share_an_endpoint_that_is_deleted_afterwards(
    bench: LeptonBench, tmp_path: Path
) -> None:
    deployment = tiny_deployment(tmp_path / "server")
    query = """
import urllib.request
request = urllib.request.Request(os.environ["NEL_URL"], b"{}")
request.add_header("Authorization", "Bearer " + os.environ[os.environ["NEL_API_KEY_NAME"]])
print(urllib.request.urlopen(request).read().decode(), flush=True)
"""
    jobs = [bench.job(name, scoring_script(name, extra=query), deployment=deployment) for name in ("alpha", "beta")]
    statuses = bench.run(*jobs)
    assert {status.state for status in statuses.values()} == {JobState.SUCCEEDED}, statuses
    assert [started.kind for started in bench.double.started].count("endpoint") == 1
    assert not bench.double.endpoints.records
    assert not bench.double.settings.secrets


@pytest.mark.parametrize(
    ("script", "fields", "reason"),
    [
        ("raise SystemExit(3)", {}, Reason.HARNESS),
        ("import time; time.sleep(600)", {"timeout": 1.0}, Reason.TIME_LIMIT),
        ("", {"command": ("no-such-program",)}, Reason.IMAGE),
    ],
)
def test_poll_reports_the_reason_of_a_failure(
    bench: LeptonBench, script: str, fields: dict[str, object], reason: Reason
) -> None:
    job = bench.job("alpha", script, **fields)
    status = bench.run(job)[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, reason), status


def test_find_and_submit_return_an_existing_attempt(bench: LeptonBench) -> None:
    job = bench.job("alpha", scoring_script())
    first = bench.executor().submit(job, 1, INVOCATION)
    other = bench.executor()
    assert other.find([job.key])[job.key].backend_id == first.backend_id
    assert other.submit(job, 1, INVOCATION).backend_id == first.backend_id
    assert wait(other, [first])[job.key].state is JobState.SUCCEEDED
    assert len(bench.double.jobs.named(attempt_name(job.key, 1))) == 1


def test_cancel_stops_jobs_and_deletes_their_endpoint(bench: LeptonBench, tmp_path: Path) -> None:
    deployment = tiny_deployment(tmp_path / "server")
    job = bench.job("alpha", "import time; time.sleep(600)", deployment=deployment)
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    executor.poll([attempt])
    executor.cancel([attempt])
    assert executor.poll([attempt])[job.key].state is JobState.CANCELLED
    assert not bench.double.running()
    assert not bench.double.endpoints.records


def test_executor_declares_the_maintenance_capability(bench: LeptonBench) -> None:
    assert isinstance(bench.executor(), Maintaining)
