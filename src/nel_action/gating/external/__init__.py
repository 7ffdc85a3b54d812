"""Reading runs that other programs left, so that they can be judged as they are."""

from __future__ import annotations

from nel_action.gating.external.detect import open_run

__all__ = ["open_run"]
