"""Number formatting for people: percentages, differences, intervals, counts, durations, sizes and costs.

Every figure that a person reads goes through this module, in the terminal, the comment, the report and the reasons
of a verdict. Machine-readable files (JSON, CSV, exports) keep plain numbers: a proportion is a fraction of 1 there.

A metric has one `Unit` per row, chosen by `Unit.of`, and all figures of the row are written by that unit:

    unit = Unit.of(score, baseline, floor, higher_is_better=True)
    unit.score(0.741, 0.019)      # 74.1 ± 1.9 %
    unit.difference(-0.053)       # −5.3 pp
    unit.amount(0.053)            # 5.3 pp
    unit.limit(0.7425)            # 74.25 %
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # NOTE: only for type checking, since pydantic would double the time that `ls tasks` takes.
    from nel_action.model.results import Interval

__all__ = [
    "MINUS",
    "MISSING",
    "VERDICT_SYMBOLS",
    "Unit",
    "age",
    "approximate_count",
    "cost",
    "count",
    "duration",
    "file_size",
    "number",
    "percentage",
    "plural",
    "progress",
]

VERDICT_SYMBOLS: Final = {"pass": "✓", "fail": "✗", "inconclusive": "?", "unmeasurable": "!"}
"""Shown with the word, so that a verdict does not depend on colour."""

MINUS: Final = "\N{MINUS SIGN}"
MISSING: Final = "–"
"""Placeholder of a missing figure."""

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_LARGE: Final = 100
"""From this magnitude on, plain numbers have significant digits instead of three decimals."""
_NEXT_TO_ALL: Final = 1e-4
"""A fraction this close to 1 would round to 100 % with two decimals."""
_ZERO: Final = 1e-12
"""Differences below this magnitude are rounding errors of floating point."""


class Unit(Enum):
    """Unit in which the figures of one metric are shown."""

    PROPORTION = "proportion"
    """Fractions of 1, shown as percentages and percentage points."""
    PLAIN = "plain"
    """Anything else, shown as it is."""

    @classmethod
    def of(cls, *values: float | None, higher_is_better: bool | None = None) -> Unit:
        """Return the unit of a metric, derived from its known values.

        No harness reports the unit of a metric. A metric whose values are all between 0 and 1 and for which higher
        is better is a proportion in every benchmark of the catalog. Metrics for which lower is better (latencies,
        losses, error rates) stay plain, since a value below 1 proves nothing there.

        Args:
            values: the score, the baseline score and the floor or ceiling of one row, where they exist; pass all of
                them wherever the row is shown, so that its reasons and its columns have the same unit.
            higher_is_better: direction of the metric; None if unknown.
        """
        known = [value for value in values if value is not None]
        bounded = bool(known) and all(0 <= value <= 1 for value in known)
        return cls.PROPORTION if bounded and higher_is_better is not False else cls.PLAIN

    def score(self, value: float | None, stderr: float | None = None) -> str:
        """Format a score with its standard error: `74.1 ± 1.9 %` or `7.410 ± 0.190`."""
        if value is None:
            return MISSING
        if self is Unit.PROPORTION:
            error = "" if stderr is None else f" ± {stderr * 100:.1f}"
            return f"{_minus(f'{value * 100:.1f}')}{error} %"
        return number(value) if stderr is None else f"{number(value)} ± {number(stderr)}"

    def limit(self, value: float) -> str:
        """Format a floor or ceiling with all the decimals that the policy states: `74.25 %`, `70.0 %`, `0.700`."""
        if self is Unit.PROPORTION:
            return f"{_decimals(value * 100, 1)} %"
        return _decimals(value, 3) if abs(value) < _LARGE else number(value)

    def difference(self, value: float | None) -> str:
        """Format a signed difference: `−5.3 pp` or `+0.021`; empty without a value."""
        if value is None:
            return ""
        if self is Unit.PROPORTION:
            return f"{_signed(value * 100, 1)} pp"
        return _signed(value, 3) if abs(value) < _LARGE else _minus(f"{value:+.5g}")

    def amount(self, value: float) -> str:
        """Format the magnitude of a change with three significant digits: `5.26 pp`, `2 pp` or `0.021`."""
        return f"{abs(value) * 100:.3g} pp" if self is Unit.PROPORTION else f"{abs(value):.3g}"

    def interval(self, bounds: Interval | None) -> str:
        """Format an interval of a difference without its unit: `[−7.9, −2.6]`; empty without bounds."""
        if bounds is None:
            return ""
        scale, digits = (100, 1) if self is Unit.PROPORTION else (1, 3)
        return f"[{_signed(bounds.low * scale, digits)}, {_signed(bounds.high * scale, digits)}]"

    def tick(self, value: float) -> str:
        """Format the label of an axis: `72.5 %` or `0.725`."""
        return _minus(f"{value * 100:.4g} %" if self is Unit.PROPORTION else f"{value:.4g}")


def number(value: float) -> str:
    """Format a number without a unit: three decimals, or five significant digits from 100 on."""
    return _minus(f"{value:.3f}" if abs(value) < _LARGE else f"{value:.5g}")


def percentage(fraction: float, digits: int | None = None) -> str:
    """Format a fraction of 1 that is not a score, such as a confidence level: `95 %`, `97.5 %`.

    Args:
        fraction: the value; 1 is 100 %.
        digits: decimals of the percentage; as many as needed by default, at most two, or six next to 100 %.
    """
    most = 6 if 1 - _NEXT_TO_ALL < fraction < 1 else 2
    text = _decimals(fraction * 100, 0, most) if digits is None else _minus(f"{fraction * 100:.{digits}f}")
    return f"{text} %"


def count(value: float) -> str:
    """Format an integer with thousands separators: `1,319`."""
    return _minus(f"{value:,.0f}")


def plural(value: int, singular: str, plural: str | None = None) -> str:
    """Format a count with its noun: `1 item`, `1,319 items`.

    Args:
        value: the count.
        singular: noun for a count of 1.
        plural: noun for other counts; `singular` with an `s` by default.
    """
    return f"{count(value)} {singular if value == 1 else plural or f'{singular}s'}"


def approximate_count(value: int) -> str:
    """Format an estimated count, rounded up to three significant digits: `1234` becomes `1,240`."""
    step: int = 10 ** max(0, len(str(value)) - 3)
    return f"{math.ceil(value / step) * step:,}"


def progress(done: int | None, total: int | None) -> str:
    """Format completed and total items: `271/400`, `271`, `0/400`; empty if neither is known."""
    if done is None:
        return "" if total is None else f"0/{total}"
    return str(done) if total is None else f"{done}/{total}"


def duration(seconds: float | None) -> str:
    """Format a duration: `45s`, `2m10s`, `3h05m`; a dash if it is unknown or negative."""
    if seconds is None or seconds < 0:
        return MISSING
    rounded = round(seconds)
    if rounded < _MINUTE:
        return f"{rounded}s"
    if rounded < _HOUR:
        return f"{rounded // 60}m{rounded % 60:02}s"
    return f"{rounded // 3600}h{rounded % 3600 // 60:02}m"


def age(seconds: float | None) -> str:
    """Format an age in its largest unit: `12 days`, `5 hours`, `3 minutes`; `unknown` without one."""
    if seconds is None:
        return "unknown"
    for length, unit in ((_DAY, "day"), (_HOUR, "hour")):
        if seconds >= 2 * length:
            return plural(int(seconds // length), unit)
    return plural(int(seconds // _MINUTE), "minute")


def file_size(size: int) -> str:
    """Format a number of bytes in decimal units: `812 B`, `1.2 MB`."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:  # noqa: PLR2004 - decimal prefixes are powers of 1000
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def cost(usd: float) -> str:
    """Format a cost in US dollars: `0.42 USD`."""
    return f"{usd:,.2f} USD"


def _decimals(value: float, least: int, most: int = 6) -> str:
    """Format with as many decimals as needed to be exact, but at least `least` and at most `most`."""
    digits = next((digits for digits in range(least, most) if abs(value - round(value, digits)) < _ZERO), most)
    return _minus(f"{value:.{digits}f}")


def _signed(value: float, digits: int) -> str:
    """Format with a sign, and zero without one."""
    rounded = round(value, digits) + 0.0  # NOTE: turns -0.0 into 0.0
    return _minus(f"{rounded:+.{digits}f}") if rounded else f"{0:.{digits}f}"


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
