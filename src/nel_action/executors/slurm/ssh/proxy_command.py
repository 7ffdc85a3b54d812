"""A `ProxyCommand` of OpenSSH's configuration as a socket.

NOTE: not `paramiko.ProxyCommand`, which notices the exit of the program at the time limit only, and leaves it running.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from typing import Final

__all__ = ["CommandSocket"]

EXIT_SECONDS: Final = 2.0
"""Seconds that the program has to exit after its socket was closed."""


class CommandSocket(socket.socket):
    """Connected to the standard input and output of a program, which is stopped when the socket is closed."""

    def __init__(self, command: str) -> None:
        """Start a program.

        Args:
            command: command line for the shell.

        Raises:
            OSError: the shell cannot be started.
        """
        own, other = socket.socketpair()
        super().__init__(fileno=own.detach())
        self.error_line = ""
        """Last line of the program's standard error, or its exit status; set when the socket is closed."""
        self._closing = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed with the socket
        with other:
            self._process = subprocess.Popen(
                ["sh", "-c", f"exec {command.removeprefix('exec ')}"],
                stdin=other.fileno(),
                stdout=other.fileno(),
                stderr=self._errors,
                start_new_session=True,
            )

    def close(self) -> None:
        """Close the socket and stop the program; does nothing the second time."""
        super().close()
        with self._closing:
            if not self._errors.closed:
                self._stop()

    def _stop(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_SECONDS)
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.error_line = lines[-1] if lines else f"exit status {self._process.returncode}"
        self._errors.close()
