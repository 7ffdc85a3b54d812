"""What holds for all tests."""

from __future__ import annotations

import os

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Count a skipped test as a failure where NEL_ACTION_TEST_REQUIRE says that everything is there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    everything = "everything" in os.environ.get("NEL_ACTION_TEST_REQUIRE", "").split(",")
    if (
        everything
        and reporter is not None
        and reporter.stats.get("skipped")
        and session.exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
