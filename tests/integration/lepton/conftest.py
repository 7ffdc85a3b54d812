"""A workspace for whole runs."""

from __future__ import annotations

from tests.support.lepton import lepton_double

__all__ = ["lepton_double"]
