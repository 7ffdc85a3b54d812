"""The conformance suite for executors, on a real cluster behind a relay that can be cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.relay import Relay
from tests.support.slurm.settings import slurm_settings
from tests.support.slurm.sshd import Sshd

from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.spec.execution import ExecutionBase
from nel_action.spec.slurm import SlurmExecution
from nel_action.testing.executor_suite import ExecutorBench, RemoteExecutorSuite


@pytest.fixture
def bench(light: Cluster, light_sshd: Sshd, tmp_path: Path) -> Iterator[ExecutorBench]:
    scratch = light.scratch / f"suite-{os.urandom(3).hex()}"
    scratch.mkdir()
    os.chown(scratch, light.user.pw_uid, light.user.pw_gid)
    executors: list[SlurmExecutor] = []

    def factory(settings: ExecutionBase, workspace: ExecutorContext) -> Executor:
        assert isinstance(settings, SlurmExecution)
        executors.append(SlurmExecutor(settings, workspace))
        return executors[-1]

    with Relay(light_sshd.port) as relay:

        @contextmanager
        def disconnect() -> Iterator[None]:
            relay.refusing = True
            relay.cut()
            yield
            relay.refusing = False

        yield ExecutorBench(
            execution=slurm_settings(
                light_sshd,
                port=relay.port,
                known_hosts=light_sshd.known_hosts_line("127.0.0.1", relay.port),
                output_dir=str(scratch / "runs"),
                max_resumes=0,
                outage_timeout=2,
            ),
            home=tmp_path,
            scratch=scratch,
            environ={"HOME": "/nonexistent"},
            factory=factory,
            disconnect=disconnect,
            lose_response=lambda: relay.cut_after(0.2),
            count_requests=lambda: sum(executor.remote.round_trips for executor in executors),
        )
        for executor in executors:
            executor.close()
    light.cancel_all()


class TestSlurm(RemoteExecutorSuite):
    pass
