"""Error rates of the gate: every method at its margin, over a grid of settings, with fixed seeds.

    python -m benchmarks.gate_simulation [--repeats 10000] [--only binary ...]

The true drop is exactly the margin, so a valid test fails at most 5 % of the time and passes at most 5 % of the time.
Prints Markdown tables: for each family and number of items, the worst setting and the mean of all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.gate_families import FAMILIES
from benchmarks.gate_rates import ALPHA, ErrorRates
from benchmarks.gate_settings import seeded_generator

from nel_action.statistics.means import SkewAdjustedMean, mean_of_items
from nel_action.statistics.power import items_to_settle, minimum_detectable

MARGIN = 0.03


@dataclass(frozen=True)
class PlannedPower:
    """Results of plans for 80 % power, in percent."""

    setting: str
    n: int
    detected: float
    """Drops of the minimum detectable size that failed."""
    settled: float
    """Comparisons with the planned number of items that passed."""


def power(repeats: int, sizes: Iterable[int] = (198, 400, 1_319)) -> Iterator[PlannedPower]:
    """Yield how often `minimum_detectable` is detected and `items_to_settle` settles."""
    for n, sd in product(sizes, (0.3, 0.5)):
        random = seeded_generator("power", n, sd)
        pilot = mean_of_items(random.normal(0, sd, n), -2, 2)
        assert isinstance(pilot, SkewAdjustedMean)  # noqa: S101 - there are enough items
        pilot = replace(pilot, estimate=MARGIN / 3 - MARGIN, sample_stderr=sd / n**0.5, skew=0.0)
        drop = minimum_detectable(pilot, MARGIN, ALPHA)
        needed = items_to_settle(pilot, -MARGIN, n, fail_alpha=ALPHA, pass_alpha=ALPHA) or n
        detected = settled = 0
        for _ in range(repeats):
            detected += mean_of_items(random.normal(-drop, sd, n), -2, 2).p_value_at_least(-MARGIN) <= ALPHA
            larger = mean_of_items(random.normal(pilot.estimate, sd, needed), -2, 2)
            settled += larger.p_value_at_most(-MARGIN) <= ALPHA
        yield PlannedPower(f"sd {sd}, {needed:,} items to settle", n, 100 * detected / repeats, 100 * settled / repeats)


def print_rates(rates: list[ErrorRates]) -> None:
    print("| n | false fail: worst / mean | at | false pass: worst / mean | at |\n|---|---|---|---|---|")
    for n in sorted({setting.n for setting in rates}):
        settings = [setting for setting in rates if setting.n == n]
        worst_fail = max(settings, key=lambda setting: setting.false_fail)
        worst_pass = max(settings, key=lambda setting: setting.false_pass)
        mean_fail = sum(setting.false_fail for setting in settings) / len(settings)
        mean_pass = sum(setting.false_pass for setting in settings) / len(settings)
        print(
            f"| {n:,} | {worst_fail.false_fail:.1f} / {mean_fail:.1f} | {worst_fail.setting} "
            f"| {worst_pass.false_pass:.1f} / {mean_pass:.1f} | {worst_pass.setting} |",
            flush=True,
        )


def print_power(repeats: int) -> None:
    print("| n | setting | drop detected, planned 80 | settled, planned 80 |\n|---|---|---|---|")
    for setting in power(repeats):
        print(f"| {setting.n:,} | {setting.setting} | {setting.detected:.1f} | {setting.settled:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=[*FAMILIES, "power"], default=[*FAMILIES, "power"])
    options = parser.parse_args()
    for name in options.only:
        start = time.perf_counter()
        print(f"\n### {name}\n")
        if name == "power":
            print_power(options.repeats)
        else:
            print_rates(list(FAMILIES[name](options.repeats)))
        print(f"\n({options.repeats:,} repeats, {time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
