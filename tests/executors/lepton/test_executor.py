"""Jobs of a plan in a workspace that runs them for real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.lepton_jobs import Bench, leaves, served, wait
from tests.support.local_jobs import INVOCATION

from nel_action.model.job import JobState, Reason, attempt_name

pytestmark = pytest.mark.lepton


def test_a_job_runs_and_its_results_come_home_through_its_log(bench: Bench, tmp_path: Path) -> None:
    job = bench.job("alpha", leaves("hello"))
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    executor.collect(attempt, tmp_path / "home" / "alpha")
    home = tmp_path / "home" / "alpha"
    assert json.loads((home / "artifacts" / "scores.json").read_text())["n_items"] == 4
    assert "hello" in (home / "logs" / "client.log").read_text()
    assert [line for line in executor.logs(attempt, follow=False) if line == "hello"]


def test_tasks_share_one_endpoint_that_is_gone_when_they_have_ended(bench: Bench, tmp_path: Path) -> None:
    deployment = served(tmp_path / "server")
    ask = """
import urllib.request
request = urllib.request.Request(os.environ["NEL_URL"], b"{}")
request.add_header("Authorization", "Bearer " + os.environ[os.environ["NEL_API_KEY_NAME"]])
print(urllib.request.urlopen(request).read().decode(), flush=True)
"""
    jobs = [bench.job(name, leaves(name, then=ask), deployment=deployment) for name in ("alpha", "beta")]
    seen = bench.run(*jobs)
    assert {status.state for status in seen.values()} == {JobState.SUCCEEDED}, seen
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
def test_a_failure_says_why(bench: Bench, script: str, fields: dict[str, object], reason: Reason) -> None:
    job = bench.job("alpha", script, **fields)
    status = bench.run(job)[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, reason), status


def test_what_was_submitted_is_found_and_not_submitted_again(bench: Bench) -> None:
    job = bench.job("alpha", leaves())
    first = bench.executor().submit(job, 1, INVOCATION)
    again = bench.executor()
    assert again.find([job.key])[job.key].backend_id == first.backend_id
    assert again.submit(job, 1, INVOCATION).backend_id == first.backend_id
    assert wait(again, [first])[job.key].state is JobState.SUCCEEDED
    assert len(bench.double.jobs.named(attempt_name(job.key, 1))) == 1


def test_cancelling_ends_jobs_and_their_endpoint(bench: Bench, tmp_path: Path) -> None:
    deployment = served(tmp_path / "server")
    job = bench.job("alpha", "import time; time.sleep(600)", deployment=deployment)
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    executor.poll([attempt])
    executor.cancel([attempt])
    assert executor.poll([attempt])[job.key].state is JobState.CANCELLED
    assert not bench.double.running()
    assert not bench.double.endpoints.records
