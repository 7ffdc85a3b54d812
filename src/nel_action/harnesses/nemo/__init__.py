"""The nemo-evaluator container contract (`nemo-evaluator run_eval`): its run configuration and its results."""

from __future__ import annotations

from nel_action.harnesses.nemo.harness import HARNESS, Nemo

__all__ = ["HARNESS", "Nemo"]
