"""Texts of the trend of scheduled runs: single lines without a full stop, as `gating.messages`."""

from __future__ import annotations

from typing import Final

from nel_action.formatting import count, plural
from nel_action.spec.limits import Limit

LAST_RUN_UNMEASURED: Final = "the last run could not be measured"
NOT_TESTED: Final = "no stated limit could be tested"
_LARGE_E_VALUE: Final = 1000


def trend_reason(limit: Limit, value: str, *, e_value: float, threshold: float) -> str:
    """Return the evidence of a series of runs against a limit.

    Args:
        limit: row of the limit.
        value: the stated limit, formatted.
        e_value: evidence after the last run.
        threshold: evidence that an alarm requires.
    """
    evidence = f"over {count(_LARGE_E_VALUE)}" if e_value > _LARGE_E_VALUE else f"{e_value:.3g}"
    return f"{limit.key} {value}: e-value {evidence}, alarm from {threshold:.3g}"


def runs_without_score(missing: int, runs: int) -> str:
    """Return that runs of a series could not be measured."""
    return f"{count(missing)} of {plural(runs, 'run')} could not be measured"


def trend_without_direction(limit: Limit) -> str:
    """Return that a series has no single better direction."""
    return f"{limit.key}: whether larger values are better is unknown or not the same in all runs; set direction"


def untested_trend(limit: Limit) -> str:
    """Return that no run of a series could be tested."""
    return f"{limit.key}: no run could be tested"


def usage_trend(runs: int) -> str:
    """Return that usage exceeded its limits in consecutive runs."""
    return f"usage exceeded its limits in each of the last {runs} runs"
