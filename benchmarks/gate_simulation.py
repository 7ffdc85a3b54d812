"""How often the gate is wrong: every method at its margin, over a grid of settings, with fixed seeds.

    python -m benchmarks.gate_simulation [--repeats 10000] [--only binary ...]

The true drop is put exactly at the margin. A sound rule then says fail at most 5 % of the time and pass at most 5 %
of the time. Prints Markdown: for each family and number of items, the worst setting and the mean of all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from benchmarks.gate_families import ALPHA, FAMILIES, Rates
from benchmarks.gate_settings import generator

from nel_action.statistics.means import SkewAdjustedMean, mean_of_items
from nel_action.statistics.power import items_to_settle, minimum_detectable

MARGIN = 0.03


@dataclass(frozen=True)
class Power:
    """What was planned for 80 %, and what came of it, in percent."""

    setting: str
    n: int
    found: float
    settled: float


def power(repeats: int, sizes: Iterable[int] = (198, 400, 1_319)) -> Iterator[Power]:
    """How often a drop of the stated size is found, and the stated number of items settles."""
    for n, spread in product(sizes, (0.3, 0.5)):
        random = generator("power", n, spread)
        pilot = mean_of_items(random.normal(0, spread, n), -2, 2)
        assert isinstance(pilot, SkewAdjustedMean)  # noqa: S101 - there are enough items
        pilot = replace(pilot, estimate=MARGIN / 3 - MARGIN, sample_stderr=spread / n**0.5, skew=0.0)
        drop = minimum_detectable(pilot, MARGIN, ALPHA)
        more = items_to_settle(pilot, -MARGIN, n, fail_alpha=ALPHA, pass_alpha=ALPHA) or n
        found = settled = 0
        for _ in range(repeats):
            found += mean_of_items(random.normal(-drop, spread, n), -2, 2).p_value_at_least(-MARGIN) <= ALPHA
            settled += (
                mean_of_items(random.normal(pilot.estimate, spread, more), -2, 2).p_value_at_most(-MARGIN) <= ALPHA
            )
        yield Power(f"sd {spread}, {more:,} items to settle", n, 100 * found / repeats, 100 * settled / repeats)


def print_rates(found: list[Rates]) -> None:
    print("| n | false fail: worst / mean | at | false pass: worst / mean | at |\n|---|---|---|---|---|")
    for n in sorted({one.n for one in found}):
        here = [one for one in found if one.n == n]
        fail, passed = max(here, key=lambda one: one.false_fail), max(here, key=lambda one: one.false_pass)
        fail_mean = sum(one.false_fail for one in here) / len(here)
        pass_mean = sum(one.false_pass for one in here) / len(here)
        print(
            f"| {n:,} | {fail.false_fail:.1f} / {fail_mean:.1f} | {fail.setting} "
            f"| {passed.false_pass:.1f} / {pass_mean:.1f} | {passed.setting} |",
            flush=True,
        )


def print_power(repeats: int) -> None:
    print("| n | setting | drop found, planned 80 | settled, planned 80 |\n|---|---|---|---|")
    for one in power(repeats):
        print(f"| {one.n:,} | {one.setting} | {one.found:.1f} | {one.settled:.1f} |", flush=True)


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
