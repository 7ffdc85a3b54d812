"""A workspace of the Lepton double, and executors for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.lepton.server import LeptonDouble
from tests.support.lepton import lepton_double
from tests.support.lepton_jobs import LeptonBench

__all__ = ["lepton_double"]


@pytest.fixture
def bench(tmp_path: Path, lepton_double: LeptonDouble) -> Iterator[LeptonBench]:
    """Creates executors; fails the test if jobs or endpoints are still running at its end."""
    yield LeptonBench(tmp_path, os.environ, lepton_double)
    assert not lepton_double.running()
