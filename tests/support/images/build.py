"""Building images for tests; an image is named by a digest of its inputs, so that it is built once."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

__all__ = ["LABEL", "build", "digest", "docker", "engine_available", "image_exists"]

CLIENT: Final = "docker"
LABEL: Final = "nel-action.test.stand-in=true"
"""Label of every image that is built for tests."""


def engine_available() -> bool:
    """Whether a Docker engine answers."""
    return shutil.which(CLIENT) is not None and bool(docker("info", "--format", "{{.ServerVersion}}", check=False))


def docker(*argv: str, stdin: bytes | None = None, check: bool = True) -> str:
    """Run the Docker client and return its output.

    Args:
        argv: its arguments.
        stdin: its standard input.
        check: raise an error if it fails; otherwise its output is empty.

    Raises:
        RuntimeError: it failed.
    """
    # NOTE: the classic builder, which old and new clients have without a plug-in.
    env = os.environ | {"DOCKER_BUILDKIT": "0"}
    process = subprocess.run([CLIENT, *argv], input=stdin, capture_output=True, env=env, check=False)
    if check and process.returncode:
        output = (process.stdout + process.stderr).decode()[-2000:]
        msg = f"docker {argv[0]} failed with status {process.returncode}: {output}"
        raise RuntimeError(msg)
    return process.stdout.decode() if not process.returncode else ""


def image_exists(name: str) -> bool:
    """Whether the engine has the image."""
    return bool(docker("image", "inspect", "--format", "{{.Id}}", name, check=False))


def digest(*paths: Path, text: str = "") -> str:
    """Return 12 hex digits that identify the contents of files and directories."""
    total = hashlib.sha256(text.encode())
    for path in paths:
        for file in sorted(item for item in (path.rglob("*") if path.is_dir() else [path]) if item.is_file()):
            if "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(path.parent)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]


def build(name: str, dockerfile: str, **directories: Path) -> None:
    """Build an image.

    Args:
        name: its name.
        dockerfile: the text of the Dockerfile.
        directories: name in the build context → directory.
    """
    buffer = io.BytesIO()
    # NOTE: the client detects an archive by its first 512 bytes, which must not be an extended header.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, directory in directories.items():
            tar.add(directory, path)
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(dockerfile.encode())
        tar.addfile(member, io.BytesIO(dockerfile.encode()))
    docker("build", "--quiet", "--label", LABEL, "--tag", name, "-", stdin=buffer.getvalue())
