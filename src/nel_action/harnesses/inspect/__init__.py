"""inspect (`inspect eval`), 0.3.200 or later: its command line and its logs."""

from __future__ import annotations

from nel_action.harnesses.inspect.harness import HARNESS, Inspect

__all__ = ["HARNESS", "Inspect"]
