"""A workspace of the Lepton double."""

from __future__ import annotations

from tests.support.lepton import lepton_double

__all__ = ["lepton_double"]
