"""Fixtures around the Lepton double: `from tests.support.lepton import lepton_double` in a conftest."""

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
    """A workspace of the double, named by the environment; a volume `node-nfs:fs` at `volumes["node-nfs:fs"]`."""
    require("lepton", can_contain(), "making namespaces (unshare) is not allowed here")
    from tests.doubles.lepton.server import lepton

    with lepton(tmp_path / "lepton") as double:
        double.settings.volumes["node-nfs:fs"] = tmp_path / "volume"
        for name, value in double.environ().items():
            monkeypatch.setenv(name, value)
        yield double
