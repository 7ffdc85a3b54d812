"""What orchestration adds to the bare harness command: 20 short tasks, one after the other, both ways.

    .venv/bin/python benchmarks/overhead.py --rounds 5

A task is a small program that works for a second or so, as a short evaluation would. Bare: the same 20 commands in a
loop. Ours: `nel-action run --wait --fresh` with their spec, from start to verdict. Prints the medians and the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASKS = 20
PROGRAM = """\
import json, os, pathlib, sys, time
time.sleep(float(sys.argv[1]))
score = {"value": 0.5, "stderr": 0.05, "n": 100}
text = json.dumps({"scores": {"accuracy": score}, "n_items": 100, "n_expected": 100})
pathlib.Path(os.environ["NEL_OUTPUT_DIR"], "scores.json").write_text(text)
"""


def write_spec(folder: Path, seconds: float) -> None:
    """Write a spec of equal short tasks."""
    (folder / "own").mkdir()
    (folder / "own" / "program.py").write_text(PROGRAM)
    words = json.dumps([sys.executable, "{task_dir}/program.py", str(seconds)])
    tasks = "".join(
        f"    - {{name: task{n}, harness: command, task_dir: own, command: {words}}}\n" for n in range(TASKS)
    )
    target = "target: {api_endpoint: {url: 'http://127.0.0.1:9/v1/chat/completions', model_id: none}}\n"
    execution = "execution: {type: local, runtime: process, parallelism: 1}\n"
    (folder / "spec.yaml").write_text(f"{target}{execution}evaluation:\n  tasks:\n{tasks}")


def bare(folder: Path, seconds: float) -> float:
    """Run the tasks in a loop; return wall seconds."""
    start = time.perf_counter()
    for number in range(TASKS):
        output = folder / f"bare{number}"
        output.mkdir(exist_ok=True)
        environ = {**os.environ, "NEL_OUTPUT_DIR": str(output)}
        subprocess.run([sys.executable, str(folder / "own" / "program.py"), str(seconds)], env=environ, check=True)
    return time.perf_counter() - start


def orchestrated(folder: Path) -> float:
    """Run the spec to its verdict; return wall seconds."""
    environ = {**os.environ, "NEL_ACTION_HOME": str(folder / "home")}
    words = [sys.executable, "-m", "nel_action", "run", "spec.yaml", "--wait", "--fresh", "--skip-endpoint-check"]
    start = time.perf_counter()
    subprocess.run(words, cwd=folder, env=environ, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure both in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each task")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_spec(folder, options.seconds)
        pairs = [(bare(folder, options.seconds), orchestrated(folder)) for _ in range(options.rounds)]
    ratios = [ours / loop for loop, ours in pairs]
    loop, ours = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    print(
        f"bare {loop:.2f} s, nel-action {ours:.2f} s; ratio pair by pair: median {statistics.median(ratios):.3f}, ",
        end="",
    )
    print(f"{min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
