"""Skipping a test where an engine is absent, and failing it where somebody said that the engine must be there."""

from __future__ import annotations

import os

import pytest

__all__ = ["require"]


def require(marker: str, available: bool, reason: str) -> None:  # noqa: FBT001 reads best as a sentence
    """Skip the test for `reason` unless `available`; fail it where `NEL_ACTION_TEST_REQUIRE` lists the marker."""
    if available:
        return
    if marker in os.environ.get("NEL_ACTION_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{marker} is required here: {reason}")
    pytest.skip(reason)
