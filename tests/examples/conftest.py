"""The example packages, built and installed as a user would install a copy of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.support.require import require

ROOT = Path(__file__).parents[2]
PACKAGES = ("exporter_plugin", "harness_plugin")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build nel-action and the examples, install their wheels into a new environment and return its Python.

    Dependencies of nel-action come from the environment of the tests, modules of this checkout do not.
    """
    available = shutil.which("uv") is not None
    require("package", available, "uv is not installed")
    folder = tmp_path_factory.mktemp("package")
    sources = [ROOT, *(shutil.copytree(ROOT / "examples" / name, folder / name) for name in PACKAGES)]
    for source in sources:
        build = run_uv("build", "--quiet", "--wheel", "--out-dir", str(folder / "wheels"), str(source))
        require("package", build.returncode == 0, f"cannot build {source.name}: {build.stderr[-500:]}")
    run_uv("venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    site_packages = next((folder / "venv").glob("lib/python*/site-packages"))
    # NOTE: a plain path entry, so that the editable installation of this checkout is not followed.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    wheels = [str(wheel) for wheel in (folder / "wheels").glob("*.whl")]
    python = folder / "venv/bin/python"
    install = run_uv("pip", "install", "--quiet", "--no-deps", "--python", str(python), *wheels)
    assert install.returncode == 0, install.stderr
    return python


def run_uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["uv", *arguments], capture_output=True, text=True, check=False, timeout=240)
