"""lm-evaluation-harness (`lm-eval`), 0.4.10 or later: its command line, its results and its samples."""

from __future__ import annotations

from nel_action.harnesses.lm_eval.harness import HARNESS, LmEval

__all__ = ["HARNESS", "LmEval"]
