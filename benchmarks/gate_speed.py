"""Time and memory of the `gate` command, from the start of Python to its exit.

    python benchmarks/gate_speed.py [--items 14042 1000000] [--repeats 5]

Writes two runs of skewed item scores with prompts and answers of ordinary length, runs `nel-action gate BASELINE
CANDIDATE --policy P`, and prints wall time, CPU time and peak memory.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

QUESTION = "A train leaves the station at noon and travels {} miles at a constant speed. How long does it take? " * 3
WITHOUT_TEXT_FROM = 100_000
"""Number of items from which samples have no prompts and answers, to limit the size of the files."""
ANSWER = "Let us think step by step. The distance is {} miles, so at the given speed the answer is what it is. " * 5


def write_run(directory: Path, items: int, *, seed: int, text: bool) -> None:
    random = np.random.default_rng(1)
    before = random.beta(4, 2, items)
    values = np.clip(before + np.random.default_rng(seed).normal(0, 0.1, items), 0, 1)
    (directory / "samples").mkdir(parents=True)
    with gzip.open(directory / "samples" / "task.jsonl.gz", "wt", compresslevel=5) as out:
        for index, value in enumerate(values.tolist()):
            line = {"id": f"item-{index:07d}", "scores": {"judge": round(value, 6)}}
            if text:
                line |= {
                    "input": QUESTION.replace("{}", str(index)),
                    "output": ANSWER.replace("{}", str(index)),
                    "expected": str(index),
                }
            out.write(json.dumps(line) + "\n")
    score = {"metric": "judge", "value": float(np.mean(np.round(values, 6))), "stderr": 0.001, "n": items}
    task = {
        "task": "task", "model": "m", "job_id": "0.0", "key": "nel-0", "outcome": "succeeded",
        "primary_metric": "judge",
        "scores": [score | {"higher_is_better": True}], "n_items": items, "n_expected": items,
        "samples": "samples/task.jsonl.gz",
    }  # fmt: skip
    results = {"schema_version": "1.0", "invocation": "0" * 16, "created": "", "tool_version": "", "tasks": [task]}
    (directory / "results.json").write_text(json.dumps(results))


def measure(command: list[str]) -> tuple[float, float, float, int]:
    """Run a command; return wall time and CPU time in seconds, peak memory in MiB, and the exit code."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[14_042, 1_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| items | wall, median (s) | CPU (s) | peak (MiB) | exit |\n|---|---|---|---|---|")
    for items in options.items:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            for run, seed in (("a", 2), ("b", 3)):
                write_run(directory / run, items, seed=seed, text=items < WITHOUT_TEXT_FROM)
            (directory / "policy.yaml").write_text("tasks: {task: {max_drop: 0.01}}\n")
            argv = ["gate", str(directory / "a"), str(directory / "b"), "--policy", str(directory / "policy.yaml")]
            program = str(Path(sys.executable).with_name("nel-action"))
            runs = [measure([program, *argv]) for _ in range(options.repeats)]
        wall, cpu, peak = (statistics.median(run[field] for run in runs) for field in range(3))
        print(f"| {items:,} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {runs[0][3]} |", flush=True)


if __name__ == "__main__":
    main()
