"""A container for those who have none: a process tree of its own, in a folder of its own, with folders mounted."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Container", "can_contain"]

ENTER = Path(__file__).with_name("enter.sh")
MAPPING = [] if os.geteuid() == 0 else ["--map-root-user"]
# NOTE: a process-id namespace, as a real container has: when its first process is gone, all of it is gone.
UNSHARE = ["unshare", *MAPPING, "--mount", "--pid", "--fork", "--kill-child"]


def can_contain() -> bool:
    """Whether this machine lets us make namespaces."""
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class Container:
    """One run of a command; `line` and `ended` are called from a thread of its own."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        mounts: Mapping[str, Path],
        line: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        root = folder / "root"
        work = folder / "work"
        for place in (root, work):
            place.mkdir(parents=True, exist_ok=True)
        mapped = [f"{source}:{target}" for target, source in sorted(mounts.items())]
        self._process = subprocess.Popen(
            [*UNSHARE, "/bin/sh", ENTER, str(root), str(work), *mapped, "--", *command],
            env={"HOME": str(work), "LANG": "C.UTF-8"} | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.exit_code: int | None = None
        self._line, self._ended = line, ended
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the process that holds the container."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            for text in stream:
                self._line(text.rstrip("\n"))
        code = self._process.wait()
        self._ended()
        self.exit_code = 128 - code if code < 0 else code

    def stop(self, grace: float) -> None:
        """Ask it to end, and end it after `grace` seconds; does not wait."""
        inner = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in inner.read_text().split():
                os.kill(int(child), signal.SIGTERM)
        timer = threading.Timer(grace, self.kill)
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        """End it and all that it started, at once; does not wait."""
        if self.exit_code is None:
            # NOTE: the group, as `unshare` may not have told its child yet that they end together.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def wait(self, limit: float = 10) -> None:
        """Wait until it is gone and its last line was read."""
        self._reader.join(limit)
        assert not self._reader.is_alive(), f"process {self.pid} did not end"
