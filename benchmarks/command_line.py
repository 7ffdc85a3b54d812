"""How long the command line takes and how big it is, beside nemo-evaluator-launcher 0.2.6 doing the same.

    .venv/bin/python benchmarks/command_line.py --rounds 7

Both are installed from the package registry by `uv`, each in an environment of its own in a temporary folder. Commands
run in turn, ours then theirs, so that a machine whose speed drifts treats them alike; a warm-up is not counted.
Prints a Markdown table: median and range of wall seconds, the ratio of medians, and peak memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEER = "nemo-evaluator-launcher[all]==0.2.6"
SPEC = """\
defaults: [execution: local, deployment: none, _self_]
execution: {output_dir: runs}
target: {api_endpoint: {url: https://models.example/v1/chat/completions, model_id: acme-7b, api_key_name: BENCH_KEY}}
evaluation:
  tasks:
    - {name: lm-evaluation-harness.ifeval}
    - {name: simple_evals.gpqa_diamond}
"""


def measure(words: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its wall seconds and its peak memory in MiB."""
    environ = {**os.environ, "BENCH_KEY": "unused", "NEMO_EVALUATOR_TELEMETRY_LEVEL": "0", "HOME": str(folder)}
    environ["NEL_ACTION_HOME"] = str(folder / "home")
    start = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        msg = f"{' '.join(words)} ended with {process.returncode}"
        raise SystemExit(msg)
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def compare(name: str, ours: list[str], theirs: list[str], folder: Path, rounds: int) -> None:
    """Print one row of the table."""
    figures: list[list[tuple[float, float]]] = [[], []]
    for number in range(rounds + 1):
        for side, words in enumerate((ours, theirs)):
            figure = measure(words, folder)
            if number:
                figures[side].append(figure)
    medians = [statistics.median(seconds for seconds, _ in side) for side in figures]
    cells = []
    for side, median in zip(figures, medians, strict=True):
        low, high = min(seconds for seconds, _ in side), max(seconds for seconds, _ in side)
        peak = max(memory for _, memory in side)
        cells.append(f"{median:.2f} s ({low:.2f} to {high:.2f}), {peak:.0f} MiB")
    print(f"| {name} | {cells[0]} | {cells[1]} | {medians[1] / medians[0]:.0f} times |", flush=True)


def install(folder: Path, words: list[str]) -> tuple[Path, int, int]:
    """Make an environment; return its programs' folder, its size in MB and its number of packages."""
    subprocess.run(["uv", "venv", "-q", "--python", ">=3.11", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run(["uv", "pip", "install", "-q", "--compile-bytecode", "--python", python, *words], check=True)
    listed = subprocess.run(["uv", "pip", "list", "-q", "--python", python], check=True, capture_output=True, text=True)
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return folder / "bin", size // 10**6, len(listed.stdout.splitlines()) - 2


def main() -> None:
    """Install both, run both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.yaml").write_text(SPEC)
        core, core_size, core_count = install(folder / "core", [str(ROOT)])
        everything = f"{ROOT}[process,slurm,lepton,wandb,mlflow,gsheets]"
        _, all_size, all_count = install(folder / "all", [everything])
        peer, peer_size, peer_count = install(folder / "peer", [PEER])
        ours, theirs = str(core / "nel-action"), str(peer / "nemo-evaluator-launcher")
        print("| what | nel-action | nemo-evaluator-launcher 0.2.6 | faster or smaller |\n|---|---|---|---|")
        compare("`--help`", [ours, "--help"], [theirs, "--help"], folder, rounds)
        compare("`ls tasks`", [ours, "ls", "tasks"], [theirs, "ls", "tasks"], folder, rounds)
        compare(
            "`run --dry-run`, 2 tasks, local",
            [ours, "run", "spec.yaml", "--dry-run"],
            [theirs, "run", "--config", str(folder / "spec.yaml"), "--dry-run"],
            folder,
            rounds,
        )
        print(f"| install, core | {core_size} MB, {core_count} packages | | |")
        ratio = f"{peer_size / all_size:.1f} times"
        sizes = [f"{size} MB, {count} packages" for size, count in ((all_size, all_count), (peer_size, peer_count))]
        print(f"| install, all extras | {sizes[0]} | {sizes[1]} | {ratio} |")


if __name__ == "__main__":
    main()
