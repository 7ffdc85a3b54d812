"""Overhead of orchestration over the bare harness command, for 20 short tasks that run one after the other.

    .venv/bin/python benchmarks/overhead.py --rounds 5

A task is a small program that sleeps for a few seconds, like a short evaluation. The bare run executes the 20 commands
in a loop; the orchestrated run is `nel-action run --wait --fresh` with a spec of the same commands, from its start to
the verdict. Prints the medians and the ratios.
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


def write_spec(directory: Path, seconds: float, *, gateway: bool) -> None:
    """Write a spec of equal tasks that take `seconds` each, with or without the gateway."""
    (directory / "own").mkdir()
    (directory / "own" / "program.py").write_text(PROGRAM)
    command = json.dumps([sys.executable, "{task_dir}/program.py", str(seconds)])
    tasks = "".join(
        f"    - {{name: task{n}, harness: command, task_dir: own, command: {command}}}\n" for n in range(TASKS)
    )
    target = "target: {api_endpoint: {url: 'http://127.0.0.1:9/v1/chat/completions', model_id: none}}\n"
    execution = "execution: {type: local, runtime: process, parallelism: 1}\n"
    switch = "" if gateway else "gateway: false\n"
    (directory / "spec.yaml").write_text(f"{target}{execution}{switch}evaluation:\n  tasks:\n{tasks}")


def run_bare(directory: Path, seconds: float) -> float:
    """Run the tasks in a loop; return the wall time in seconds."""
    start = time.perf_counter()
    for number in range(TASKS):
        output = directory / f"bare{number}"
        output.mkdir(exist_ok=True)
        environ = {**os.environ, "NEL_OUTPUT_DIR": str(output)}
        subprocess.run([sys.executable, str(directory / "own" / "program.py"), str(seconds)], env=environ, check=True)
    return time.perf_counter() - start


def run_orchestrated(directory: Path) -> float:
    """Run the spec until its verdict; return the wall time in seconds."""
    environ = {**os.environ, "NEL_ACTION_HOME": str(directory / "home")}
    argv = [sys.executable, "-m", "nel_action", "run", "spec.yaml", "--wait", "--fresh", "--skip-endpoint-check"]
    start = time.perf_counter()
    subprocess.run(argv, cwd=directory, env=environ, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure both alternately."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each task")
    parser.add_argument("--direct", action="store_true", help="without the gateway")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_spec(directory, options.seconds, gateway=not options.direct)
        pairs = [(run_bare(directory, options.seconds), run_orchestrated(directory)) for _ in range(options.rounds)]
    ratios = [orchestrated / bare for bare, orchestrated in pairs]
    bare, orchestrated = (statistics.median(pair[index] for pair in pairs) for index in (0, 1))
    print(
        f"bare {bare:.2f} s, nel-action {orchestrated:.2f} s; ratio of each pair: "
        f"median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
