"""Figures as people read them: scores, differences, intervals, durations."""

from __future__ import annotations

from typing import Final

from nel_action.model.results import Interval

__all__ = ["SYMBOLS", "difference", "duration", "interval", "plain", "score"]

SYMBOLS: Final = {"pass": "✓", "fail": "✗", "inconclusive": "?", "unmeasurable": "!"}
"""Each verdict is told by a sign and a word, never by colour alone."""

MINUS: Final = "\N{MINUS SIGN}"
_MINUTE: Final = 60
_HOUR: Final = 3600
_LARGE: Final = 100


def plain(value: float) -> str:
    """Write a figure in its own unit: three decimals, fewer where it is large."""
    text = f"{value:.3f}" if abs(value) < _LARGE else f"{value:.5g}"
    return text.replace("-", MINUS)


def score(value: float | None, stderr: float | None = None, *, percent: bool = False) -> str:
    """Write `0.741 ± 0.019`, or `74.1 ± 1.9 %`; a dash where there is none."""
    if value is None:
        return "–"
    if percent:
        error = "" if stderr is None else f" ± {stderr * 100:.1f}"
        return f"{value * 100:.1f}{error} %".replace("-", MINUS)
    return plain(value) if stderr is None else f"{plain(value)} ± {plain(stderr)}"


def difference(value: float | None, *, percent: bool = False) -> str:
    """Write `−5.3 pp` for shares, `+0.021` for anything else."""
    if value is None:
        return ""
    if percent:
        return f"{_signed(value * 100, 1)} pp"
    return _signed(value, 3) if abs(value) < _LARGE else f"{value:+.5g}".replace("-", MINUS)


def interval(bounds: Interval | None, *, percent: bool = False) -> str:
    """Write `[−7.9, −2.6]` in the unit of `difference`."""
    if bounds is None:
        return ""
    scale, digits = (100, 1) if percent else (1, 3)
    return f"[{_signed(bounds.low * scale, digits)}, {_signed(bounds.high * scale, digits)}]"


def duration(seconds: float | None) -> str:
    """Write `45s`, `2m10s` or `3h05m`."""
    if seconds is None or seconds < 0:
        return "–"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def _signed(value: float, digits: int) -> str:
    rounded = round(value, digits) + 0.0  # NOTE: turns -0.0 into 0.0, which no reader needs to see
    return f"{rounded:+.{digits}f}".replace("-", MINUS) if rounded else f"{0:.{digits}f}"
