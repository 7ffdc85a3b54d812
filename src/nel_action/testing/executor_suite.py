"""Conformance suite for executors.

Derive a class from `ExecutorSuite` in a test file, and define a pytest fixture `bench` that returns a new
`ExecutorBench`:

    from nel_action.testing.executor_suite import ExecutorBench, ExecutorSuite

    @pytest.fixture
    def bench(tmp_path):
        return ExecutorBench(execution={"type": "mine"}, home=tmp_path / "home", scratch=tmp_path)

    class TestMine(ExecutorSuite):
        pass

An executor whose backend is reached over a network derives from `RemoteExecutorSuite`; its bench can also interrupt
the connection. The jobs are small shell scripts that need `sh`, `sleep` and `flock`.
"""

from __future__ import annotations

from nel_action.testing.cancellation import CancellationTests
from nel_action.testing.faults import FaultTests
from nel_action.testing.harness import INVOCATION, ExecutorBench
from nel_action.testing.maintenance import MaintenanceTests
from nel_action.testing.polling import PollingTests
from nel_action.testing.submission import SubmissionTests

__all__ = ["INVOCATION", "ExecutorBench", "ExecutorSuite", "RemoteExecutorSuite"]


class ExecutorSuite(SubmissionTests, PollingTests, CancellationTests, MaintenanceTests):
    """Tests that every executor passes."""


class RemoteExecutorSuite(ExecutorSuite, FaultTests):
    """Tests that an executor passes whose backend is reached over a network."""
