"""A real Docker engine for tests, and an image of a few hundred kilobytes that is created on demand."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.require import require

from nel_action.errors import EngineError
from nel_action.executors.local.docker.engine import connect

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["client", "root_archive", "tiny_image"]

COMMANDS = ("sh", "bash", "cat", "cp", "dd", "echo", "env", "false", "head", "httpd", "id", "ls", "mkdir", "nc")
MORE_COMMANDS = ("printf", "pwd", "sleep", "stat", "tail", "test", "touch", "trap", "true", "wc", "wget", "yes")


@contextmanager
def client() -> Iterator[DockerClient]:
    """Connect to the engine that DOCKER_HOST names, or skip the test."""
    reason = _why_unavailable()
    require("docker", not reason, reason)
    connection = connect(os.environ)
    try:
        yield connection
    finally:
        connection.close()


@cache
def _why_unavailable() -> str:
    try:
        connect(os.environ).close()
    except EngineError as error:
        return str(error)
    return ""


def tiny_image(engine: DockerClient) -> str:
    """Return the name of an image with a shell and a few programs, created from this machine's static busybox."""
    busybox = shutil.which("busybox")
    require("docker", busybox is not None, "busybox is not installed (Debian: apt-get install busybox-static)")
    data = root_archive(Path(str(busybox)))
    name = f"nel-action-test/tiny:{hashlib.sha256(data).hexdigest()[:12]}"
    if not engine.images.list(name=name):
        repository, _, tag = name.partition(":")
        engine.api.import_image_from_data(data, repository=repository, tag=tag)
    return name


def root_archive(busybox: Path) -> bytes:
    """Return a root file system as a reproducible tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in {"bin": 0o755, "etc": 0o755, "tmp": 0o1777}.items():
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, mode
            archive.addfile(directory)
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = busybox.stat().st_size, 0o755
        with busybox.open("rb") as file:
            archive.addfile(program, file)
        for command in (*COMMANDS, *MORE_COMMANDS):
            link = tarfile.TarInfo(f"bin/{command}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return buffer.getvalue()
