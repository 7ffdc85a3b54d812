"""Measure the action's set-up: cold, without any cache, and warm, with the packages of a restored cache.

    .venv/bin/python benchmarks/action_setup.py --rounds 3

Runs `scripts/action-setup` like action.yml, on a runner with nothing but a system Python: a new RUNNER_TEMP and no uv
on the path. Warm runs have `uv-cache` as restored by `actions/cache`. Cold runs download from the configured package
index. Prints medians for specs that require different extras.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = "target: {api_endpoint: {model_id: m, url: http://127.0.0.1:9/v1/chat/completions}}\n"
TASKS = "evaluation: {tasks: [{name: ifeval}]}\n"
SPECS = {
    "containers": "execution: {type: local}\n",
    "processes": "execution: {type: local, runtime: process}\n",
    "slurm": "execution: {type: slurm, hostname: login, account: a, output_dir: /tmp/x}\n",
}


def runner(folder: Path, spec: Path, cache: Path | None) -> dict[str, str]:
    """Return the environment of a job on a new runner.

    Args:
        folder: parent of the runner's temporary directory.
        spec: the spec of the job.
        cache: packages that are restored; None for a cold start.
    """
    temp = Path(tempfile.mkdtemp(dir=folder))
    if cache:
        (temp / "nel-action").mkdir()
        shutil.copytree(cache, temp / "nel-action/uv-cache", symlinks=True)
    # NOTE: hosted runners have no uv; with one on the path, the set-up would skip its installation.
    path = ":".join(part for part in os.environ["PATH"].split(":") if part and not (Path(part) / "uv").exists())
    python = Path(sys.executable).resolve().parent
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "VIRTUAL_ENV"))}
    return environ | {
        "PATH": f"{python}:{path}",
        "RUNNER_TEMP": str(temp),
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_OUTPUT": str(temp / "out"),
        "INPUT_SPEC": str(spec),
    }


def set_up(environ: dict[str, str]) -> float:
    """Run both steps; return the wall time in seconds."""
    start = time.perf_counter()
    for step in ("key", "install"):
        subprocess.run([str(ROOT / "scripts/action-setup"), step], env=environ, check=True, cwd=environ["RUNNER_TEMP"])
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print("spec        cold   warm   (seconds, medians)   cache")
    with tempfile.TemporaryDirectory() as name:
        for label, text in SPECS.items():
            folder = Path(name, label)
            folder.mkdir()
            spec = folder / "spec.yaml"
            spec.write_text(text + TARGET + TASKS)
            cold, warm = [], []
            for _ in range(rounds):
                environ = runner(folder, spec, None)
                cold.append(set_up(environ))
                cache = Path(environ["RUNNER_TEMP"], "nel-action/uv-cache")
                warm.append(set_up(runner(folder, spec, cache)))
            size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6
            print(f"{label:10} {statistics.median(cold):5.1f}  {statistics.median(warm):5.1f} {size:25.0f} MB")


if __name__ == "__main__":
    main()
