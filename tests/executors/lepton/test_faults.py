"""Failures of the connection and of the platform."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tests.doubles.lepton.faults import Fault
from tests.support.lepton_jobs import LeptonBench, scoring_script, wait
from tests.support.local_jobs import INVOCATION

from nel_action.errors import CollectError, EngineError, ExecutorError, UnreachableError
from nel_action.executors.interface import poll_attempts
from nel_action.executors.lepton import client, collect, job_log
from nel_action.executors.lepton import status as status_module
from nel_action.executors.lepton.client import ForbiddenError, TokenError
from nel_action.executors.lepton.jobs import JobRecord
from nel_action.model.job import Attempt, JobState, Reason, attempt_name
from nel_action.retry import Backoff

pytestmark = [pytest.mark.slow, pytest.mark.lepton]

SLEEP = "import time; time.sleep(600)"
LARGE_FILE = """
import os
(out / "large").write_bytes(os.urandom(60_000))
"""


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time limits of retries and waits."""
    monkeypatch.setattr(client, "RETRY_SECONDS", 1.2)
    monkeypatch.setattr(status_module, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(collect, "LOG_DELAY_SECONDS", 0.5)


def count_jobs(bench: LeptonBench, attempt: Attempt) -> int:
    """Return the number of jobs with an attempt's name."""
    return len(bench.double.jobs.named(attempt_name(attempt.key, attempt.number)))


@pytest.mark.parametrize("fault", [{"status": None}, {"status": 502}, {"status": 200, "cut": 20}, {"status": 409}])
def test_submit_finds_the_job_after_a_lost_response(bench: LeptonBench, fault: dict[str, Any]) -> None:
    bench.double.faults.append(Fault("POST /jobs", **({"after": True} | fault)))
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    assert count_jobs(bench, attempt) == 1
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_submit_can_be_repeated_after_a_lost_request(bench: LeptonBench) -> None:
    bench.double.faults.append(Fault("POST /jobs", status=None))
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    with pytest.raises(UnreachableError):
        executor.submit(job, 1, INVOCATION)
    attempt = bench.executor().submit(job, 1, INVOCATION)
    assert count_jobs(bench, attempt) == 1
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_reconcile_stops_the_younger_of_two_jobs_with_one_name(bench: LeptonBench) -> None:
    executor, job = bench.executor(), bench.job("alpha", SLEEP)
    attempt = executor.submit(job, 1, INVOCATION)
    body = next(request.body for request in bench.double.requests("POST", "/jobs"))
    executor.client.request("post", "/jobs", operation="submit it twice", json=body)
    older, younger = bench.double.jobs.named(attempt_name(job.key, 1))
    executor.poll([attempt])
    assert not younger.job.spec.stopped, "a query stops nothing"
    poll_attempts(executor, [attempt])
    assert (bool(older.job.spec.stopped), bool(younger.job.spec.stopped)) == (False, True)
    executor.cancel([attempt])


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("status", [401, 429, 500, 503, None])
def test_poll_reports_unknown_until_the_platform_responds(bench: LeptonBench, status: int | None) -> None:
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    fault = Fault("GET /jobs", status=status, times=9999)
    bench.double.faults.append(fault)
    observed = executor.poll([attempt])[job.key]
    assert observed.state is JobState.UNKNOWN
    assert str(status or "did not respond") in (observed.detail or "")
    fault.times = 0
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


@pytest.mark.usefixtures("short_waits")
def test_poll_raises_when_the_token_stays_rejected(bench: LeptonBench) -> None:
    executor, job = bench.executor(), bench.job("alpha", SLEEP)
    attempt = executor.submit(job, 1, INVOCATION)
    bench.double.settings.token = "renewed"
    for _ in range(4):
        assert executor.poll([attempt])[job.key].state is JobState.UNKNOWN
    with pytest.raises(TokenError, match="invalid or has expired"):
        executor.poll([attempt])
    later = bench.executor()
    later.client.environ = MappingProxyType({**os.environ, "LEPTON_WORKSPACE_TOKEN": "renewed"})
    assert later.poll([attempt])[job.key].state is JobState.RUNNING
    later.cancel([attempt])


def test_submit_reports_a_missing_permission(bench: LeptonBench) -> None:
    bench.double.faults.append(Fault("POST /usersecrets", status=403, message="secrets are for admins"))
    executor = bench.executor()
    job = bench.job("alpha", scoring_script(), env={"KEY": "host:PATH"})
    with pytest.raises(ForbiddenError, match=r"permission to create secrets .* secrets are for admins") as error:
        executor.submit(job, 1, INVOCATION)
    assert "administrator" in str(error.value)
    assert not bench.double.jobs.records


def test_requests_wait_as_long_as_retry_after_demands(bench: LeptonBench) -> None:
    bench.double.faults.append(Fault("GET /jobs", status=429, headers={"Retry-After": "7"}))
    pauses: list[float] = []
    executor = bench.executor()
    executor.client.sleep = pauses.append
    executor.find([])
    assert pauses == [7.0]


def test_submit_reports_a_rejected_job(bench: LeptonBench) -> None:
    executor = bench.executor(evaluation_tasks={"resource_shape": "cpu.nothing"})
    with pytest.raises(
        ExecutorError, match=r"rejected the request to submit nel-.* \(400\): resource shape 'cpu.nothing' not found"
    ):
        executor.submit(bench.job("alpha", scoring_script()), 1, INVOCATION)


def test_an_unknown_platform_state_is_reported_as_unknown(bench: LeptonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, job = bench.executor(), bench.job("alpha", SLEEP)
    attempt = executor.submit(job, 1, INVOCATION)
    list_jobs = executor.client.list_jobs

    def with_unknown_state(name: str) -> list[JobRecord]:
        return [replace(job, state="Dreaming") for job in list_jobs(name)]

    monkeypatch.setattr(executor.client, "list_jobs", with_unknown_state)
    status = executor.poll([attempt])[job.key]
    assert status.state is JobState.UNKNOWN
    assert "'Dreaming'" in (status.detail or "")
    monkeypatch.undo()
    executor.cancel([attempt])


@pytest.mark.parametrize("keeps", [False, True])
def test_an_archived_job_keeps_its_status_and_results(bench: LeptonBench, tmp_path: Path, keeps: bool) -> None:  # noqa: FBT001
    bench.double.settings.archive_keeps_state = keeps
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    bench.double.advance(8 * 24 * 3600)
    later = bench.executor()
    assert later.find([job.key])[job.key].backend_id == attempt.backend_id
    assert later.poll([attempt])[job.key].state is JobState.SUCCEEDED
    later.collect(attempt, tmp_path / "home")
    assert (tmp_path / "home" / "artifacts" / "scores.json").is_file()


def test_find_reads_all_pages_of_the_job_listing(bench: LeptonBench) -> None:
    bench.double.settings.max_page = 2
    executor = bench.executor()
    jobs = [bench.job(f"job-{number}", scoring_script(), index=number) for number in range(5)]
    statuses = wait(executor, [executor.submit(job, 1, INVOCATION) for job in jobs])
    assert {status.state for status in statuses.values()} == {JobState.SUCCEEDED}
    assert set(bench.executor().find([job.key for job in jobs])) == {job.key for job in jobs}


def test_collect_reads_all_pages_of_a_log(bench: LeptonBench, tmp_path: Path) -> None:
    bench.double.settings.max_log_lines = 7
    executor = bench.executor()
    job = bench.job("alpha", scoring_script("hello", extra=f"print('\\n'.join(map(str, range(40))))\n{LARGE_FILE}"))
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    executor.collect(attempt, tmp_path / "home")
    assert (tmp_path / "home" / "artifacts" / "large").stat().st_size == 60_000
    numbers = [line for line in executor.logs(attempt, follow=False) if line.isdigit()]
    assert numbers == [str(number) for number in range(40)]


@pytest.mark.usefixtures("short_waits")
def test_collect_rejects_a_log_with_missing_parts(bench: LeptonBench, tmp_path: Path) -> None:
    executor = bench.executor()
    job = bench.job("alpha", scoring_script("hello", extra=LARGE_FILE))
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    log = bench.double.jobs.get(attempt.backend_id).log
    complete = list(log.lines)
    log.lines = [line for line in complete if ":part:3/" not in line.text]
    with pytest.raises(CollectError, match=r"1 of \d+ parts are missing"):
        executor.collect(attempt, tmp_path / "home")
    assert not (tmp_path / "home" / "artifacts").exists()
    log.lines = complete
    executor.collect(attempt, tmp_path / "home")
    assert (tmp_path / "home" / "artifacts" / "large").stat().st_size == 60_000


def test_collect_waits_for_lines_that_arrive_late(bench: LeptonBench, tmp_path: Path) -> None:
    bench.double.settings.log_lag = 1
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    executor.collect(attempt, tmp_path / "home")


@pytest.mark.usefixtures("short_waits")
def test_a_finished_job_without_an_exit_record_has_failed(bench: LeptonBench) -> None:
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    deadline = time.monotonic() + 30
    while bench.double.jobs.get(attempt.backend_id).finished is None:
        assert time.monotonic() < deadline
        bench.double.settle()
        time.sleep(0.05)
    bench.double.jobs.get(attempt.backend_id).log.lines.clear()
    status = wait(executor, [attempt])[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)


def test_a_harness_cannot_forge_an_exit_record(bench: LeptonBench) -> None:
    forged = "@nel:{attempt}:deadbeef:end:e30="
    script = f"import os; print({forged!r}.replace('{{attempt}}', os.environ['A']), flush=True); raise SystemExit(4)"
    job = bench.job("alpha", script)
    job = bench.job("alpha", script, env={"A": f"lit:{attempt_name(job.key, 1)}"})
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    status = wait(executor, [attempt])[job.key]
    assert (status.state, status.exit_code) == (JobState.FAILED, 4)
    assert any("deadbeef" in line for line in executor.logs(attempt, follow=False))


def test_poll_reports_earlier_runs_of_a_preempted_job(bench: LeptonBench) -> None:
    executor = bench.executor(evaluation_tasks={"can_be_preempted": True})
    flag = bench.root / "second"
    job = bench.job("alpha", scoring_script("run", extra=f"time.sleep(0 if os.path.exists({str(flag)!r}) else 600)"))
    attempt = executor.submit(job, 1, INVOCATION)
    record = bench.double.jobs.get(attempt.backend_id)
    deadline = time.monotonic() + 30
    while not any(line.text == "run" for line in record.log.lines):
        assert time.monotonic() < deadline
        executor.poll([attempt])
        time.sleep(0.05)
    bench.double.jobs.preempt(record)
    flag.touch()
    status = executor.poll([attempt])[job.key]
    assert "run 2; earlier runs: Stopped" in (status.detail or "")
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_a_failed_job_is_restarted_as_often_as_configured(bench: LeptonBench) -> None:
    executor = bench.executor(evaluation_tasks={"retries": 1})
    flag = bench.root / "second"
    fail_once = f"p = {str(flag)!r}\nif not os.path.exists(p):\n    open(p, 'w'); raise SystemExit(5)"
    job = bench.job("alpha", scoring_script("run", extra=fail_once))
    status = wait(executor, [executor.submit(job, 1, INVOCATION)])[job.key]
    assert (status.state, status.detail) == (JobState.SUCCEEDED, "run 2; earlier runs: Failed")
    assert [started.run for started in bench.double.started] == [1, 2]


def test_a_job_fails_when_its_image_cannot_be_pulled(bench: LeptonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(status_module, "STUCK_SECONDS", 0.3)
    bench.double.settings.missing_images.add("img:1")
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    status = wait(executor, [executor.submit(job, 1, INVOCATION)])[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.IMAGE)
    assert "ErrImagePull" in (status.detail or "")


def test_logs_follow_continues_after_a_broken_stream(bench: LeptonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "FOLLOW_BACKOFF", Backoff(initial=0.05, factor=1.0))
    executor = bench.executor()
    job = bench.job(
        "alpha", scoring_script("0", extra="for n in range(1, 6):\n    time.sleep(0.2); print(n, flush=True)")
    )
    attempt = executor.submit(job, 1, INVOCATION)
    bench.double.faults.append(Fault(r"GET /jobs/[^/]+/replicas/[^/]+/log", cut=150))
    digits = [line for line in executor.logs(attempt, follow=True) if re.fullmatch(r"\d", line)]
    assert digits == list("012345")
    wait(executor, [attempt])


def test_a_missing_token_is_reported_with_the_variable_to_set(
    bench: LeptonBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEPTON_WORKSPACE_TOKEN")
    monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match="no token for the Lepton workspace") as error:
        bench.executor().find([])
    assert "LEPTON_WORKSPACE_TOKEN" in str(error.value)


def test_secrets_are_sent_as_references_redacted_and_deleted(
    bench: LeptonBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cr3t-value")
    bench.double.settings.secrets["WORKSPACE_SECRET"] = "other-s3cret"
    print_secrets = """
env = os.environ
print(env["API_KEY"], env["RUNTIME"], env["OTHER"], len(env["API_KEY"]), flush=True)
"""
    env = {"API_KEY": "host:API_KEY", "RUNTIME": "runtime:WORKSPACE_SECRET", "PLAIN": "lit:plain"}
    settings = {
        "lepton_platform": {"tasks": {"env_vars": {"OTHER": {"value_from": {"secret_name_ref": "WORKSPACE_SECRET"}}}}}
    }
    executor, job = bench.executor(**settings), bench.job("alpha", scoring_script(extra=print_secrets), env=env)
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    executor.collect(attempt, tmp_path / "home")
    assert "*** *** *** 12" in (tmp_path / "home" / "logs" / "client.log").read_text()
    sent = json.dumps([request.body for request in bench.double.requests("POST", "/jobs")])
    assert "s3cr3t-value" not in sent
    assert list(bench.double.settings.secrets) == ["WORKSPACE_SECRET"]
