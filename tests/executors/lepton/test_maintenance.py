"""Maintenance of a workspace: what `sweep` and `reconcile` change, and what they keep."""

from __future__ import annotations

import time

import pytest
from tests.doubles.lepton.faults import Fault
from tests.support.lepton_jobs import LeptonBench, scoring_script, wait
from tests.support.local_jobs import INVOCATION

from nel_action.errors import UnreachableError
from nel_action.executors.interface import poll_attempts
from nel_action.executors.lepton import client
from nel_action.executors.lepton.environment import SecretName
from nel_action.model.job import Attempt, JobState, attempt_name

pytestmark = [pytest.mark.slow, pytest.mark.lepton]

SLEEP = "import time; time.sleep(600)"


def test_sweep_deletes_expired_secrets_without_an_active_owner(bench: LeptonBench) -> None:
    executor = bench.executor()
    active, requested = bench.job("active", SLEEP), bench.job("requested", SLEEP)
    attempt = executor.submit(active, 1, INVOCATION)
    old, now = int(time.time()) - 7200, int(time.time())
    secrets = {
        "of an active job": str(SecretName(attempt_name(active.key, 1), old, "KEY")),
        "of a requested key": str(SecretName(attempt_name(requested.key, 1), old, "KEY")),
        "of a new job": str(SecretName("nel-aaaaaaaaaaaaaaaa-1", now, "KEY")),
        "of a lost job": str(SecretName("nel-bbbbbbbbbbbbbbbb-1", old, "KEY")),
        "of another program": "HF_TOKEN",
    }
    bench.double.settings.secrets = dict.fromkeys(secrets.values(), "s3cret")
    executor.sweep([requested.key])
    kept = [description for description, name in secrets.items() if name in bench.double.settings.secrets]
    assert kept == ["of an active job", "of a requested key", "of a new job", "of another program"]
    executor.cancel([attempt])


def test_sweep_raises_when_the_jobs_cannot_be_listed(bench: LeptonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)
    bench.double.faults.append(Fault("GET /jobs", status=503, times=99))
    with pytest.raises(UnreachableError):
        bench.executor().sweep([])


def test_reconcile_deletes_the_secrets_of_finished_attempts_only(
    bench: LeptonBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret-value")
    executor = bench.executor()
    finished = bench.job("finished", scoring_script(), env={"KEY": "host:SECRET"})
    running = bench.job("running", SLEEP, env={"KEY": "host:SECRET"})
    attempts = [executor.submit(job, 1, INVOCATION) for job in (finished, running)]
    wait(executor, attempts[:1])
    poll_attempts(executor, attempts)
    owners = {name.owner for name in map(SecretName.parse, bench.double.settings.secrets) if name}
    assert owners == {attempt_name(running.key, 1)}
    executor.cancel(attempts[1:])
    assert not bench.double.settings.secrets


def test_reconcile_observes_again_when_its_attempts_were_not_polled(bench: LeptonBench) -> None:
    executor = bench.executor()
    job, other = bench.job("alpha", scoring_script()), bench.job("beta", scoring_script())
    attempts = [executor.submit(each, 1, INVOCATION) for each in (job, other)]
    wait(executor, attempts)
    statuses = executor.poll(attempts[:1])
    assert executor.reconcile(attempts, statuses)[other.key].state is JobState.SUCCEEDED


def test_queries_send_only_get_requests(bench: LeptonBench) -> None:
    executor, job = bench.executor(), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    missing = Attempt(key=bench.job("beta", SLEEP).key, number=1, backend_id="missing")
    bench.double.received.clear()
    executor.find([job.key])
    executor.poll([attempt, missing])
    assert {request.method for request in bench.double.received} == {"GET"}
