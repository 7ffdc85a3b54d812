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
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

QUESTION = "A train leaves the station at noon and travels {} miles at a constant speed. How long does it take? " * 3
WITHOUT_TEXT_FROM = 100_000
"""Number of items from which samples have no prompts and answers, to limit the size of the files."""
ANSWER = "Let us think step by step. The distance is {} miles, so at the given speed the answer is what it is. " * 5

SHARE_WRONG = 0.3


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


def write_lm_eval(folder: Path, lines: int, *, seed: int) -> None:
    folder.mkdir()
    stamp = "2026-11-22T00-00-00.000000"
    random = np.random.default_rng(1).random(lines)
    values = (random + np.random.default_rng(seed).normal(0, 0.05, lines) > SHARE_WRONG).astype(float)
    with (folder / f"samples_task_{stamp}.jsonl").open("w") as out:
        for row, value in enumerate(values.tolist()):
            digest = f"{row:064x}"[::-1]
            line = {
                "doc_id": row, "doc": {"question": QUESTION.replace("{}", str(row)), "answer": str(row)},
                "target": str(row),
                "arguments": {"gen_args_0": {"arg_0": QUESTION.replace("{}", str(row)), "arg_1": {"until": ["\n"]}}},
                "resps": [[ANSWER.replace("{}", str(row))]], "filtered_resps": [str(row)], "filter": "none",
                "metrics": ["exact_match"], "doc_hash": digest, "prompt_hash": digest, "target_hash": digest,
                "exact_match": value,
            }  # fmt: skip
            out.write(json.dumps(line) + "\n")
    table = {"alias": "task", "exact_match,none": float(values.mean()), "exact_match_stderr,none": 0.001}
    config = {"metric_list": [{"metric": "exact_match", "aggregation": "mean"}]}
    results = {
        "results": {"task": table}, "configs": {"task": config}, "versions": {"task": 1}, "n-shot": {"task": 0},
        "higher_is_better": {"task": {"exact_match": True}}, "config": {"model": "m", "limit": None},
        "n-samples": {"task": {"original": lines, "effective": lines}},
    }  # fmt: skip
    (folder / f"results_{stamp}.json").write_text(json.dumps(results))


def write_tasks(folder: Path, tasks: int, *, seed: int) -> None:
    (folder / "samples").mkdir(parents=True)
    entries = []
    for number in range(tasks):
        values = (np.random.default_rng((seed, number)).random(50) > SHARE_WRONG).astype(float).tolist()
        with gzip.open(folder / "samples" / f"{number}.jsonl.gz", "wt") as out:
            for row, value in enumerate(values):
                out.write(json.dumps({"id": str(row), "scores": {"acc": value}, "input": QUESTION}) + "\n")
        score = {"metric": "acc", "value": statistics.fmean(values), "n": 50, "higher_is_better": True}
        entries.append(
            {
                "task": f"task-{number}",
                "model": "m",
                "job_id": "0.0",
                "key": f"nel-{number}",
                "outcome": "succeeded",
                "primary_metric": "acc",
                "scores": [score],
                "n_items": 50,
                "n_expected": 50,
                "samples": f"samples/{number}.jsonl.gz",
            }
        )
    results = {
        "schema_version": "1.0",
        "invocation": f"{seed:016x}",
        "created": "",
        "tool_version": "",
        "tasks": entries,
    }
    (folder / "results.json").write_text(json.dumps(results))


PLAIN_JSON = """
import gzip, json, sys
for path in sys.argv[1:]:
    for line in (gzip.open(path) if path.endswith(".gz") else open(path, "rb")):
        json.loads(line)
"""


def measure(command: list[str]) -> tuple[float, float, float, int]:
    """Run a command; return wall time and CPU time in seconds, peak memory in MiB, and the exit code."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


def compare(label: str, write: Callable[[Path, int], None], policy: str, repeats: int) -> None:
    """Print one row: the median over the repeats."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, seed in (("a", 2), ("b", 3)):
            write(folder / side, seed)
        (folder / "policy.yaml").write_text(policy)
        argv = ["gate", str(folder / "a"), str(folder / "b"), "--policy", str(folder / "policy.yaml")]
        program = str(Path(sys.executable).with_name("nel-action"))
        lines = [str(path) for path in sorted(folder.rglob("*.jsonl*"))]
        runs, plain = [], []
        for _ in range(repeats):
            runs.append(measure([program, *argv]))
            plain.append(measure([sys.executable, "-c", PLAIN_JSON, *lines])[1])
    wall, cpu, peak = (statistics.median(run[field] for run in runs) for field in range(3))
    json_cpu = statistics.median(plain)
    row = f"| {label} | {wall:.2f} | {cpu:.2f} | {json_cpu:.2f} | {cpu / json_cpu:.2f} | {peak:.0f} | {runs[0][3]} |"
    print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=[14_042, 1_000_000])
    parser.add_argument("--lines", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--tasks", type=int, nargs="*", default=[600])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| what | wall, median (s) | CPU (s) | json (s) | CPU / json | peak (MiB) | exit |")
    print("|---|---|---|---|---|---|---|")
    limit = "tasks: {task: {max_drop: 0.01}}\n"
    for items in options.items:
        write = partial(write_run, items=items, text=items < WITHOUT_TEXT_FROM)
        compare(f"{items:,} items", lambda folder, seed, write=write: write(folder, seed=seed), limit, options.repeats)
    for lines in options.lines:
        write = partial(write_lm_eval, lines=lines)
        label = f"{lines:,} lines of lm-eval"
        compare(label, lambda folder, seed, write=write: write(folder, seed=seed), limit, options.repeats)
    for tasks in options.tasks:
        write = partial(write_tasks, tasks=tasks)
        label = f"{tasks:,} tasks of 50 items"
        compare(
            label,
            lambda folder, seed, write=write: write(folder, seed=seed),
            "defaults: {max_drop: 0.2}\n",
            options.repeats,
        )


if __name__ == "__main__":
    main()
