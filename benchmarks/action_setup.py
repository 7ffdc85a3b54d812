"""How long the action's set-up takes: cold, with nothing at all, and warm, with the packages that its cache kept.

    .venv/bin/python benchmarks/action_setup.py --rounds 3

Runs `scripts/action-setup` as action.yml does, each time on a runner that has nothing but its system's Python: a fresh
RUNNER_TEMP and no uv on the path. Warm runs find `uv-cache` as `actions/cache` would have restored it. Cold runs
download from whatever package registry this machine uses. Prints the medians for specs that need different extras.
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


def runner(folder: Path, spec: Path, kept: Path | None) -> dict[str, str]:
    """Return the environment of a job on a fresh runner; `kept` is the cache that it restores."""
    temp = Path(tempfile.mkdtemp(dir=folder))
    if kept:
        (temp / "nel-action").mkdir()
        shutil.copytree(kept, temp / "nel-action/uv-cache", symlinks=True)
    # NOTE: a uv of this machine would spare the set-up a step that hosted runners have to do.
    path = ":".join(part for part in os.environ["PATH"].split(":") if part and not (Path(part) / "uv").exists())
    python = Path(sys.executable).resolve().parent
    here = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "VIRTUAL_ENV"))}
    return here | {
        "PATH": f"{python}:{path}",
        "RUNNER_TEMP": str(temp),
        "GITHUB_ACTION_PATH": str(ROOT),
        "GITHUB_OUTPUT": str(temp / "out"),
        "INPUT_SPEC": str(spec),
    }


def set_up(environ: dict[str, str]) -> float:
    """Do the two steps; return wall seconds."""
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
        for words, text in SPECS.items():
            folder = Path(name, words)
            folder.mkdir()
            spec = folder / "spec.yaml"
            spec.write_text(text + TARGET + TASKS)
            cold, warm = [], []
            for _ in range(rounds):
                environ = runner(folder, spec, None)
                cold.append(set_up(environ))
                kept = Path(environ["RUNNER_TEMP"], "nel-action/uv-cache")
                warm.append(set_up(runner(folder, spec, kept)))
            size = sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) / 1e6
            print(f"{words:10} {statistics.median(cold):5.1f}  {statistics.median(warm):5.1f} {size:25.0f} MB")


if __name__ == "__main__":
    main()
