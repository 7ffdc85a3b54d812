"""A real MLflow server, in its own environment of 850 MB."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

__all__ = ["VERSION", "mlflow_server", "server_command"]

VERSION = "3.17.2"


def server_command() -> list[str] | None:
    """Return the command of the server; None if it is neither installed nor in the cache of uv.

    NEL_ACTION_TEST_MLFLOW names an installed `mlflow`. If the marker is required, uv installs it.
    """
    installed = os.environ.get("NEL_ACTION_TEST_MLFLOW")
    if installed:
        return [installed]
    uv = shutil.which("uv")
    if uv is None:
        return None
    required = "mlflow" in os.environ.get("NEL_ACTION_TEST_REQUIRE", "").split(",")
    command = [uv, "tool", "run", *([] if required else ["--offline"]), "--from", f"mlflow=={VERSION}", "mlflow"]
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, check=False, timeout=600)
    except subprocess.TimeoutExpired:
        return None
    return command if done.returncode == 0 else None


@contextmanager
def mlflow_server(command: list[str], folder: Path) -> Iterator[str]:
    """Run a server on a free port with its files in `folder`; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        # NOTE: its own process group, since the workers outlive their parent.
        process = subprocess.Popen([*command, *arguments, *stores], stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(15)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(address, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    msg = f"the MLflow server has not started: {log.read_text()[-2000:]}"
    raise AssertionError(msg)
