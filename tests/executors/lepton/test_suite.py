"""The suite that any executor can run on itself, in a workspace of the double."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.doubles.lepton.faults import Fault
from tests.doubles.lepton.server import LeptonDouble

from nel_action.executors.lepton import cloud
from nel_action.testing.executor_suite import ExecutorBench, RemoteExecutorSuite


@pytest.fixture
def bench(lepton_double: LeptonDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ExecutorBench]:
    monkeypatch.setattr(cloud, "PATIENCE", 1.0)

    @contextmanager
    def cut_off() -> Iterator[None]:
        silence = Fault(".", None, times=1000)
        lepton_double.faults.append(silence)
        yield
        lepton_double.faults.remove(silence)

    @contextmanager
    def queueing() -> Iterator[None]:
        lepton_double.settings.no_capacity.add("cpu.small")
        yield
        lepton_double.settings.no_capacity.clear()

    tasks = {"work_dir": str(tmp_path / "containers"), "resource_shape": "cpu.small"}
    yield ExecutorBench(
        execution={"type": "lepton", "evaluation_tasks": tasks},
        home=tmp_path / "home",
        scratch=tmp_path,
        environ=os.environ,
        image="img:1",
        cut_off=cut_off,
        lose_answer=lambda: lepton_double.faults.append(Fault("POST /jobs", None, after=True)),
        queueing=queueing,
        round_trips=lambda: len(lepton_double.seen),
    )
    assert not lepton_double.running()


class TestLepton(RemoteExecutorSuite):
    pass
