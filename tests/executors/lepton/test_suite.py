"""The conformance suite against the Lepton double."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.doubles.lepton.faults import Fault
from tests.doubles.lepton.server import LeptonDouble

from nel_action.executors.lepton import client
from nel_action.testing.executor_suite import ExecutorBench, RemoteExecutorSuite

pytestmark = [pytest.mark.slow, pytest.mark.lepton]


@pytest.fixture
def bench(tmp_path: Path, lepton_double: LeptonDouble, monkeypatch: pytest.MonkeyPatch) -> ExecutorBench:
    monkeypatch.setattr(client, "RETRY_SECONDS", 2.0)

    @contextmanager
    def disconnect() -> Iterator[None]:
        fault = Fault("", status=503, times=10**6)
        lepton_double.faults.append(fault)
        yield
        lepton_double.faults.remove(fault)

    @contextmanager
    def hold_jobs() -> Iterator[None]:
        lepton_double.settings.no_capacity.add("cpu.small")
        yield
        lepton_double.settings.no_capacity.clear()

    return ExecutorBench(
        execution={"type": "lepton", "evaluation_tasks": {"work_dir": str(tmp_path / "containers")}},
        home=tmp_path / "home",
        scratch=tmp_path,
        environ=os.environ,
        image="img:1",
        disconnect=disconnect,
        lose_response=lambda: lepton_double.faults.append(Fault("POST /jobs", status=None, after=True)),
        hold_jobs=hold_jobs,
        count_requests=lambda: len(lepton_double.received),
    )


class TestLepton(RemoteExecutorSuite):
    pass
