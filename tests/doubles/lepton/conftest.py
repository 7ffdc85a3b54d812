"""The double, and the SDK's client for it."""

from __future__ import annotations

import pytest
from tests.doubles.lepton.server import LeptonDouble
from tests.support.lepton import lepton_double

__all__ = ["lepton_double"]


@pytest.fixture
def double(lepton_double: LeptonDouble) -> LeptonDouble:
    return lepton_double


@pytest.fixture
def client(double: LeptonDouble) -> object:
    from leptonai.api.v2.client import APIClient

    return APIClient(workspace_id="ws", auth_token=double.settings.token, url=double.url)
