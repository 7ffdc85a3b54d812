"""Conformance tests that any executor can run on itself.

Derive a class from `ExecutorSuite` in a test file and give it a pytest fixture `bench` that returns a fresh
`ExecutorBench`:

    from nel_action.testing.executor_suite import ExecutorBench, ExecutorSuite

    @pytest.fixture
    def bench(tmp_path):
        return ExecutorBench(execution={"type": "mine"}, home=tmp_path / "home", scratch=tmp_path)

    class TestMine(ExecutorSuite):
        "All of it."

An executor that speaks over a network derives from `RemoteExecutorSuite`, whose bench can also cut the line. Jobs are
small shell programs that need `sh`, `sleep` and `flock` where they run.
"""

from __future__ import annotations

from nel_action.testing.cancellation import EndingTests
from nel_action.testing.faults import ReachTests
from nel_action.testing.harness import INVOCATION, ExecutorBench
from nel_action.testing.polling import WatchingTests
from nel_action.testing.submission import PlacingTests

__all__ = ["INVOCATION", "ExecutorBench", "ExecutorSuite", "RemoteExecutorSuite"]


class ExecutorSuite(PlacingTests, WatchingTests, EndingTests):
    """What holds for every executor."""


class RemoteExecutorSuite(ExecutorSuite, ReachTests):
    """What holds besides where the backend is reached over a network."""
