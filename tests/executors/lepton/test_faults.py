"""What may go wrong between here and the platform, and in the platform."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from tests.doubles.lepton.faults import Fault
from tests.support.lepton_jobs import Bench, leaves, wait
from tests.support.local_jobs import INVOCATION

from nel_action.errors import CollectError, EngineError, ExecutorError, UnreachableError
from nel_action.executors.lepton import client as cloud
from nel_action.executors.lepton import collect
from nel_action.executors.lepton import status as observe
from nel_action.executors.lepton.client import ForbiddenError, TokenError
from nel_action.model.job import Attempt, JobState, Reason, attempt_name

pytestmark = pytest.mark.lepton

WAITS = "import time; time.sleep(600)"
BIG = """
import os
(out / "big").write_bytes(os.urandom(60_000))
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for hardly anything that does not come."""
    monkeypatch.setattr(cloud, "PATIENCE", 1.2)
    monkeypatch.setattr(observe, "GRACE", 0.2)
    monkeypatch.setattr(collect, "PATIENCE", 0.5)


def jobs(bench: Bench, attempt: Attempt) -> int:
    """How many jobs the platform has under an attempt's name."""
    return len(bench.double.jobs.named(attempt_name(attempt.key, attempt.number)))


@pytest.mark.parametrize("fault", [{"status": None}, {"status": 502}, {"status": 200, "cut": 20}, {"status": 409}])
def test_a_submission_whose_answer_is_lost_is_not_repeated(bench: Bench, fault: dict[str, Any]) -> None:
    bench.double.faults.append(Fault("POST /jobs", **({"after": True} | fault)))
    executor, job = bench.executor(), bench.job("alpha", leaves())
    attempt = executor.submit(job, 1, INVOCATION)
    assert jobs(bench, attempt) == 1
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_a_submission_that_never_arrived_may_be_repeated(bench: Bench) -> None:
    bench.double.faults.append(Fault("POST /jobs", status=None))
    executor, job = bench.executor(), bench.job("alpha", leaves())
    with pytest.raises(UnreachableError):
        executor.submit(job, 1, INVOCATION)
    attempt = bench.executor().submit(job, 1, INVOCATION)
    assert jobs(bench, attempt) == 1
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_the_younger_of_two_jobs_of_one_name_is_stopped(bench: Bench) -> None:
    executor, job = bench.executor(), bench.job("alpha", WAITS)
    attempt = executor.submit(job, 1, INVOCATION)
    body = next(seen.body for seen in bench.double.requests("POST", "/jobs"))
    executor.cloud.request("post", "/jobs", what="submit it twice", json=body)
    elder, younger = bench.double.jobs.named(attempt_name(job.key, 1))
    executor.poll([attempt])
    assert (bool(elder.job.spec.stopped), bool(younger.job.spec.stopped)) == (False, True)
    executor.cancel([attempt])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 429, 500, 503, None])
def test_an_answer_that_does_not_come_is_unknown_and_then_known(bench: Bench, status: int | None) -> None:
    executor, job = bench.executor(), bench.job("alpha", leaves())
    attempt = executor.submit(job, 1, INVOCATION)
    fault = Fault("GET /jobs", status=status, times=9999)
    bench.double.faults.append(fault)
    seen = executor.poll([attempt])[job.key]
    assert seen.state is JobState.UNKNOWN
    assert str(status or "does not answer") in (seen.detail or "")
    fault.times = 0
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


@pytest.mark.usefixtures("impatient")
def test_waiting_with_a_token_that_stays_refused_ends(bench: Bench) -> None:
    executor, job = bench.executor(), bench.job("alpha", WAITS)
    attempt = executor.submit(job, 1, INVOCATION)
    bench.double.settings.token = "renewed"
    for _ in range(4):
        assert executor.poll([attempt])[job.key].state is JobState.UNKNOWN
    with pytest.raises(TokenError, match="wrong or has expired"):
        executor.poll([attempt])
    later = bench.executor()
    later.cloud.environ = MappingProxyType({**os.environ, "LEPTON_WORKSPACE_TOKEN": "renewed"})
    assert later.poll([attempt])[job.key].state is JobState.RUNNING
    later.cancel([attempt])


def test_a_right_that_is_missing_is_told(bench: Bench) -> None:
    bench.double.faults.append(Fault("POST /usersecrets", status=403, message="secrets are for admins"))
    executor = bench.executor()
    job = bench.job("alpha", leaves(), env={"KEY": "host:PATH"})
    with pytest.raises(ForbiddenError, match=r"may not make secrets .* secrets are for admins") as error:
        executor.submit(job, 1, INVOCATION)
    assert "administrator" in str(error.value)
    assert not bench.double.jobs.records


def test_fewer_requests_are_made_when_the_platform_asks_for_that(bench: Bench) -> None:
    bench.double.faults.append(Fault("GET /jobs", status=429, headers={"Retry-After": "7"}))
    waited: list[float] = []
    executor = bench.executor()
    executor.cloud.sleep = waited.append
    executor.find([])
    assert waited == [7.0]


def test_a_refused_job_is_refused(bench: Bench) -> None:
    executor = bench.executor(evaluation_tasks={"resource_shape": "cpu.nothing"})
    with pytest.raises(
        ExecutorError, match=r"refuses to submit nel-.* \(400\): resource shape 'cpu.nothing' not found"
    ):
        executor.submit(bench.job("alpha", leaves()), 1, INVOCATION)


def test_a_state_that_nobody_knows_is_unknown_with_its_word(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, job = bench.executor(), bench.job("alpha", WAITS)
    attempt = executor.submit(job, 1, INVOCATION)
    listed = executor.cloud.jobs

    def strange(name: str) -> list[dict[str, Any]]:
        return [item | {"status": {"state": "Dreaming"}} for item in listed(name)]

    monkeypatch.setattr(executor.cloud, "jobs", strange)
    status = executor.poll([attempt])[job.key]
    assert status.state is JobState.UNKNOWN
    assert "'Dreaming'" in (status.detail or "")
    monkeypatch.undo()
    executor.cancel([attempt])


@pytest.mark.parametrize("keeps", [False, True])
def test_an_archived_job_is_still_what_it_was(bench: Bench, tmp_path: Path, keeps: bool) -> None:  # noqa: FBT001
    bench.double.settings.archive_keeps_state = keeps
    executor, job = bench.executor(), bench.job("alpha", leaves())
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    bench.double.advance(8 * 24 * 3600)
    later = bench.executor()
    assert later.find([job.key])[job.key].backend_id == attempt.backend_id
    assert later.poll([attempt])[job.key].state is JobState.SUCCEEDED
    later.collect(attempt, tmp_path / "home")
    assert (tmp_path / "home" / "artifacts" / "scores.json").is_file()


def test_jobs_are_listed_page_by_page(bench: Bench) -> None:
    bench.double.settings.max_page = 2
    executor = bench.executor()
    tasks = [bench.job(f"job-{number}", leaves(), index=number) for number in range(5)]
    seen = wait(executor, [executor.submit(job, 1, INVOCATION) for job in tasks])
    assert {status.state for status in seen.values()} == {JobState.SUCCEEDED}
    assert set(bench.executor().find([job.key for job in tasks])) == {job.key for job in tasks}


def test_a_long_log_comes_page_by_page_and_whole(bench: Bench, tmp_path: Path) -> None:
    bench.double.settings.max_log_lines = 7
    executor = bench.executor()
    job = bench.job("alpha", leaves("hello", then=f"print('\\n'.join(map(str, range(40))))\n{BIG}"))
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    executor.collect(attempt, tmp_path / "home")
    assert (tmp_path / "home" / "artifacts" / "big").stat().st_size == 60_000
    said = [line for line in executor.logs(attempt, follow=False) if line.isdigit()]
    assert said == [str(number) for number in range(40)]


@pytest.mark.usefixtures("impatient")
def test_a_log_with_holes_gives_no_results(bench: Bench, tmp_path: Path) -> None:
    executor = bench.executor()
    job = bench.job("alpha", leaves("hello", then=BIG))
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    log = bench.double.jobs.get(attempt.backend_id).log
    whole = list(log.lines)
    log.lines = [line for line in whole if ":part:3/" not in line.text]
    with pytest.raises(CollectError, match="and 1 did not arrive"):
        executor.collect(attempt, tmp_path / "home")
    assert not (tmp_path / "home" / "artifacts").exists()
    log.lines = whole
    executor.collect(attempt, tmp_path / "home")
    assert (tmp_path / "home" / "artifacts" / "big").stat().st_size == 60_000


def test_a_log_that_comes_late_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    bench.double.settings.log_lag = 1
    executor, job = bench.executor(), bench.job("alpha", leaves())
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    executor.collect(attempt, tmp_path / "home")


@pytest.mark.usefixtures("impatient")
def test_a_job_that_says_nothing_of_its_end_has_not_succeeded(bench: Bench) -> None:
    executor, job = bench.executor(), bench.job("alpha", leaves())
    attempt = executor.submit(job, 1, INVOCATION)
    deadline = time.monotonic() + 30
    while bench.double.jobs.get(attempt.backend_id).finished is None:
        assert time.monotonic() < deadline
        bench.double.settle()
        time.sleep(0.05)
    bench.double.jobs.get(attempt.backend_id).log.lines.clear()
    status = wait(executor, [attempt])[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)


def test_what_a_job_prints_cannot_pass_for_its_end(bench: Bench) -> None:
    forged = "@nel:{attempt}:deadbeef:end:e30="
    script = f"import os; print({forged!r}.replace('{{attempt}}', os.environ['A']), flush=True); raise SystemExit(4)"
    job = bench.job("alpha", script)
    job = bench.job("alpha", script, env={"A": f"lit:{attempt_name(job.key, 1)}"})
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    status = wait(executor, [attempt])[job.key]
    assert (status.state, status.exit_code) == (JobState.FAILED, 4)
    assert any("deadbeef" in line for line in executor.logs(attempt, follow=False))


def test_a_preempted_job_comes_back_and_says_so(bench: Bench) -> None:
    executor = bench.executor(evaluation_tasks={"can_be_preempted": True})
    flag = bench.root / "second"
    job = bench.job("alpha", leaves("run", then=f"time.sleep(0 if os.path.exists({str(flag)!r}) else 600)"))
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
    assert "run 2; before: Stopped" in (status.detail or "")
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_a_failed_job_is_tried_again_as_often_as_asked(bench: Bench) -> None:
    executor = bench.executor(evaluation_tasks={"retries": 1})
    flag = bench.root / "second"
    once = f"p = {str(flag)!r}\nif not os.path.exists(p):\n    open(p, 'w'); raise SystemExit(5)"
    job = bench.job("alpha", leaves("run", then=once))
    status = wait(executor, [executor.submit(job, 1, INVOCATION)])[job.key]
    assert (status.state, status.detail) == (JobState.SUCCEEDED, "run 2; before: Failed")
    assert [started.run for started in bench.double.started] == [1, 2]


def test_an_image_that_cannot_be_had_is_told_and_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "GRACE", 0.1)
    monkeypatch.setattr(observe, "STUCK", 0.3)
    bench.double.settings.missing_images.add("img:1")
    executor, job = bench.executor(), bench.job("alpha", leaves())
    status = wait(executor, [executor.submit(job, 1, INVOCATION)])[job.key]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.IMAGE)
    assert "ErrImagePull" in (status.detail or "")


def test_a_log_is_followed_across_a_broken_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from nel_action.executors.lepton import logs

    monkeypatch.setattr(logs, "PAUSE", 0.05)
    executor = bench.executor()
    job = bench.job("alpha", leaves("0", then="for n in range(1, 6):\n    time.sleep(0.2); print(n, flush=True)"))
    attempt = executor.submit(job, 1, INVOCATION)
    bench.double.faults.append(Fault(r"GET /jobs/[^/]+/replicas/[^/]+/log", cut=150))
    said = [line for line in executor.logs(attempt, follow=True) if re.fullmatch(r"\d", line)]
    assert said == list("012345")
    wait(executor, [attempt])


def test_without_a_token_it_says_what_to_set(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEPTON_WORKSPACE_TOKEN")
    monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match="no token for the Lepton workspace") as error:
        bench.executor().find([])
    assert "LEPTON_WORKSPACE_TOKEN" in str(error.value)


def test_secrets_are_references_and_gone_afterwards(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "s3cr3t-value")
    bench.double.settings.secrets["FROM_THERE"] = "other-s3cret"
    show = (
        "print(os.environ['API_KEY'], os.environ['THERE'], os.environ['OTHER'], len(os.environ['API_KEY']), flush=True)"
    )
    env = {"API_KEY": "host:API_KEY", "THERE": "runtime:FROM_THERE", "PLAIN": "lit:plain"}
    settings = {
        "lepton_platform": {"tasks": {"env_vars": {"OTHER": {"value_from": {"secret_name_ref": "FROM_THERE"}}}}}
    }
    executor, job = bench.executor(**settings), bench.job("alpha", leaves(then=show), env=env)
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    executor.collect(attempt, tmp_path / "home")
    assert "*** *** *** 12" in (tmp_path / "home" / "logs" / "client.log").read_text()
    sent = json.dumps([seen.body for seen in bench.double.requests("POST", "/jobs")])
    assert "s3cr3t-value" not in sent
    assert list(bench.double.settings.secrets) == ["FROM_THERE"]
