"""Building images for tests: named by what goes into them, so that a second build finds the first."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

__all__ = ["LABEL", "build", "digest", "docker", "engine_here", "have"]

CLIENT: Final = "docker"
LABEL: Final = "nel-action.test.stand-in=true"
"""On every image that is made here: it stands in for one that a registry would serve."""


def engine_here() -> bool:
    """Whether a Docker engine answers."""
    return shutil.which(CLIENT) is not None and bool(docker("info", "--format", "{{.ServerVersion}}", check=False))


def docker(*words: str, stdin: bytes | None = None, check: bool = True) -> str:
    """Run Docker's client; return what it says."""
    # NOTE: the plain builder, which both old and new clients have without a plug-in.
    env = os.environ | {"DOCKER_BUILDKIT": "0"}
    done = subprocess.run([CLIENT, *words], input=stdin, capture_output=True, env=env, check=False)
    if check and done.returncode:
        said = (done.stdout + done.stderr).decode()[-2000:]
        msg = f"docker {words[0]} ended with {done.returncode}: {said}"
        raise RuntimeError(msg)
    return done.stdout.decode() if not done.returncode else ""


def have(name: str) -> bool:
    """Whether the engine has the image."""
    return bool(docker("image", "inspect", "--format", "{{.Id}}", name, check=False))


def digest(*paths: Path, text: str = "") -> str:
    """Return 12 hex digits for the contents of files and folders."""
    total = hashlib.sha256(text.encode())
    for path in paths:
        for file in sorted(item for item in (path.rglob("*") if path.is_dir() else [path]) if item.is_file()):
            if "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(path.parent)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]


def build(name: str, dockerfile: str, **folders: Path) -> None:
    """Build an image; each folder stands in the build's context under its keyword."""
    buffer = io.BytesIO()
    # NOTE: the client knows an archive by its first 512 bytes, which must be no extended header.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for inside, folder in folders.items():
            tar.add(folder, inside)
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(dockerfile.encode())
        tar.addfile(member, io.BytesIO(dockerfile.encode()))
    docker("build", "--quiet", "--label", LABEL, "--tag", name, "-", stdin=buffer.getvalue())
