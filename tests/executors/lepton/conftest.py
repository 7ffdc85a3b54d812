"""A workspace, and executors in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.doubles.lepton.server import LeptonDouble
from tests.support.lepton import lepton_double
from tests.support.lepton_jobs import Bench

__all__ = ["lepton_double"]


@pytest.fixture
def bench(tmp_path: Path, lepton_double: LeptonDouble) -> Iterator[Bench]:
    """Executors such as other processes would build; nothing may run when the test is over."""
    yield Bench(tmp_path, os.environ, lepton_double)
    assert not lepton_double.running()
