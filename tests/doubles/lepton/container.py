"""Containers without a container engine: a process tree in its own namespaces, with its own mounts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Container", "can_contain"]

ENTER_SCRIPT = Path(__file__).with_name("enter.sh")
USER_MAPPING = [] if os.geteuid() == 0 else ["--map-root-user"]
# NOTE: a PID namespace, as in a real container: when its first process exits, all others are killed.
UNSHARE = ["unshare", *USER_MAPPING, "--mount", "--pid", "--fork", "--kill-child"]


def can_contain() -> bool:
    """Whether this machine permits the creation of namespaces."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Container:
    """One run of a command.

    Args:
        command: the argument list.
        directory: where the container's root and working directory are created.
        environ: the environment variables.
        mounts: path in the container to directory on this machine.
        on_line: called with each line of the output, in a thread of the container.
        on_exit: called after the process has exited, in the same thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environ: Mapping[str, str],
        mounts: Mapping[str, Path],
        on_line: Callable[[str], None],
        on_exit: Callable[[], None],
    ) -> None:
        root = directory / "root"
        work_dir = directory / "work"
        for path in (root, work_dir):
            path.mkdir(parents=True, exist_ok=True)
        mappings = [f"{source}:{target}" for target, source in sorted(mounts.items())]
        self._process = subprocess.Popen(
            [*UNSHARE, "/bin/sh", ENTER_SCRIPT, str(root), str(work_dir), *mappings, "--", *command],
            env={"HOME": str(work_dir), "LANG": "C.UTF-8"} | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.exit_code: int | None = None
        self._on_line, self._on_exit = on_line, on_exit
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Id of the process that created the namespaces."""
        return self._process.pid

    def _read_output(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            for text in stream:
                self._on_line(text.rstrip("\n"))
        code = self._process.wait()
        self._on_exit()
        self.exit_code = 128 - code if code < 0 else code

    def stop(self, grace: float) -> None:
        """Send SIGTERM, and SIGKILL after `grace` seconds; does not wait."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGTERM)
        timer = threading.Timer(grace, self.kill)
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """Kill all processes; does not wait."""
        if self.exit_code is None:
            # NOTE: the process group, because `unshare` may not have set up `--kill-child` yet.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, timeout: float = 10) -> None:
        """Wait until the process has exited and its output was read."""
        self._reader.join(timeout)
        assert not self._reader.is_alive(), f"process {self.pid} did not exit"
