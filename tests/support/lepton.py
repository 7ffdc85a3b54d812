"""Fixture of the Lepton double; a conftest imports it: `from tests.support.lepton import lepton_double`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.doubles.lepton.container import can_contain
from tests.support.require import require

if TYPE_CHECKING:
    from tests.doubles.lepton.server import LeptonDouble

__all__ = ["lepton_double"]


@pytest.fixture
def lepton_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LeptonDouble]:
    """A running double, set in the environment, with the volume `node-nfs:fs` below `tmp_path`."""
    require("lepton", can_contain(), "creating namespaces (unshare) is not permitted")
    from tests.doubles.lepton.server import lepton

    with lepton(tmp_path / "lepton") as double:
        double.settings.volumes["node-nfs:fs"] = tmp_path / "volume"
        for name, value in double.environ().items():
            monkeypatch.setenv(name, value)
        yield double
