"""How commands reach the login node: the seam between everything else here and SSH.

A transport runs one command and returns what it said, or raises. It never guesses: an answer that did not come
whole is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from nel_action.errors import UnreachableError

__all__ = ["Finished", "LostError", "Transport"]


class LostError(UnreachableError):
    """A command was sent and its answer did not come: it may have run, or not, or run still."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command said."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """The standard output as text."""
        return self.out.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """The last line of the standard error, for a person."""
        lines = self.err.decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit status {self.code}"


class Transport(Protocol):
    """One way to a login node; safe to use from several threads."""

    @property
    def place(self) -> str:
        """What a person calls the other end (`evaluator@login.example`)."""

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> Finished:
        """Run one command to its end.

        Raises:
            LostError: the answer did not come, or not whole, in that many seconds.
            UnreachableError: nothing was sent at all.
        """

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:
        """Copy files from there to here; `seconds` is for each silence, not for the whole.

        Raises:
            UnreachableError: the connection broke.
            OSError: a file cannot be read there, or written here.
        """

    def close(self) -> None:
        """Let go of the connection."""
