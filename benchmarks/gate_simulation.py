"""Error rates of the gate: every method at its margin, over a grid of settings, with fixed seeds.

    python -m benchmarks.gate_simulation [--repeats 10000] [--only binary ...]

The true drop is exactly the margin, so a valid test fails at most 5 % of the time and passes at most 5 % of the time.
Prints Markdown tables: for each family and number of items, the worst setting and the mean of all.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.gate_families import FAMILIES
from benchmarks.gate_power import power
from benchmarks.gate_rates import ErrorRates


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
    print(
        "| data | n | drop detected, planned 80: least / most | settled, planned 80: least / most |\n|---|---|---|---|"
    )
    settings = list(power(repeats))
    for data, n in dict.fromkeys((setting.data, setting.n) for setting in settings):
        rows = [setting for setting in settings if (setting.data, setting.n) == (data, n)]
        detected = [row.detected for row in rows if row.detected is not None]
        settled = [row.settled for row in rows if row.settled is not None]
        cells = [f"{min(rates):.0f} / {max(rates):.0f}" if rates else "–" for rates in (detected, settled)]
        print(f"| {data} | {n:,} | {cells[0]} | {cells[1]} |", flush=True)


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
