"""Transports: how commands and files reach the login node, over SSH or as local processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from nel_action.errors import EngineError, UnreachableError

__all__ = ["CommandResult", "ControllerDownError", "LocalTransport", "OutcomeUnknownError", "Transport"]


class OutcomeUnknownError(UnreachableError):
    """A command was sent, but its result was lost: it may have run, may still run, or may never have started."""


class ControllerDownError(EngineError):
    """The Slurm controller does not answer; submitted jobs continue without it."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit status and output of a finished command."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output, decoded."""
        return self.stdout.decode(errors="replace")

    @property
    def error_text(self) -> str:
        """Standard error, decoded."""
        return self.stderr.decode(errors="replace")

    @property
    def error_line(self) -> str:
        """Last line of standard error, for messages; the exit status if there is none."""
        lines = self.error_text.strip().splitlines()
        return lines[-1].strip() if lines else f"exit status {self.code}"


class Transport(Protocol):
    """Connection to one login node; safe to use from several threads.

    An incomplete result is never returned as a result: the methods raise instead.
    """

    @property
    def host(self) -> str:
        """Name of the login node in messages (`evaluator@login.example`)."""

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> CommandResult:
        """Run one command and wait for it.

        Args:
            argv: the command.
            stdin: its standard input.
            seconds: time limit for the complete result.

        Raises:
            OutcomeUnknownError: the result was incomplete or late.
            UnreachableError: the command was not sent.
        """

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:
        """Copy files from the login node to this machine.

        Args:
            files: source on the login node and target on this machine.
            seconds: time limit without progress, not for the entire copy.

        Raises:
            UnreachableError: the connection broke.
            OSError: a source cannot be read or a target cannot be written.
        """

    def close(self) -> None:
        """Close the connection."""


# NOTE: sbatch copies its environment to the controller and possibly into the accounting database. These variables
# of a login session are harmless there; the caller's other variables, such as API keys, are not.
INHERITED_VARIABLES: Final = (
    "HOME",
    "KRB5CCNAME",
    "LANG",
    "LOGNAME",
    "MANPATH",
    "MODULEPATH",
    "MODULESHOME",
    "PATH",
    "SHELL",
    "SLURM_CONF",
    "TMPDIR",
    "USER",
)


class LocalTransport:
    """Runs commands as child processes, for nel-action on a login node."""

    host = "this login node"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._env = {name: environ[name] for name in INHERITED_VARIABLES if name in environ}

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> CommandResult:
        """Run one command and wait for it.

        Args:
            argv: the command.
            stdin: its standard input.
            seconds: time limit, after which the command is killed.

        Raises:
            OutcomeUnknownError: the command exceeded its time limit or was killed.
        """
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env,
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=seconds)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                msg = f"{argv[0]} did not finish within {seconds:g} s on {self.host}"
                raise OutcomeUnknownError(msg) from None
        if process.returncode < 0:
            msg = f"{argv[0]} was killed by signal {-process.returncode} on {self.host}"
            raise OutcomeUnknownError(msg)
        return CommandResult(process.returncode, stdout, stderr)

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:  # noqa: ARG002
        """Copy files on this machine.

        Args:
            files: source and target of each file.
            seconds: ignored.

        Raises:
            OSError: a source cannot be read or a target cannot be written.
        """
        for source, target in files:
            shutil.copyfile(source, target)

    def close(self) -> None:
        """Do nothing: there is no connection."""
