"""Several commands in one round trip, each as an argument list with its own answer.

Login shells greet, and scripts that they source talk. So every answer is framed by a word that nobody else can
know, and what stands outside the frames is dropped.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nel_action.errors import EngineError
from nel_action.executors.slurm.transport import Finished, LostError, Transport

__all__ = ["Remote"]

FRAME = 'nel_frame() { printf \'\\n%s %s\\n\' "$1" "$2"; printf \'\\n%s %s\\n\' "$1" "$2" >&2; }'


class Remote:
    """A login node, as commands see it."""

    def __init__(
        self, transport: Transport, *, bin_dir: str | None = None, login_shell: bool = False, seconds: float = 60
    ) -> None:
        self._transport = transport
        self._bin_dir = bin_dir
        self._login_shell = login_shell
        self._seconds = seconds
        self.round_trips = 0
        """How often the other end was spoken to; what budgets are counted in."""

    @property
    def place(self) -> str:
        """What a person calls the other end."""
        return self._transport.place

    def run(self, *commands: Sequence[str], seconds: float | None = None) -> list[Finished]:
        """Run commands that may safely be run twice, one after another; return each one's answer.

        Raises:
            UnreachableError: the answers did not come, and not at a second attempt on a fresh connection either.
        """
        try:
            return self._script(commands, seconds)
        except LostError:
            # NOTE: a connection that was idle may have been gone for long; only a fresh one can tell.
            return self._script(commands, seconds)

    def once(self, command: Sequence[str], *, stdin: bytes = b"", seconds: float | None = None) -> Finished:
        """Run one command that must not be run twice; what it reads from its standard input may be of any size.

        Raises:
            LostError: it may have run.
            UnreachableError: it has not run.
        """
        word = secrets.token_hex(16)
        shell = ["bash", "-lc"] if self._login_shell else ["sh", "-c"]
        text = "\n".join([*self._preamble(word), shlex.join(command), f'nel_frame {word} "$?"'])
        done = self._send([*shell, text], stdin, seconds)
        return self._answers(done, word, 1)[0]

    def _script(self, commands: Sequence[Sequence[str]], seconds: float | None) -> list[Finished]:
        # NOTE: the script goes through standard input, since one word of a command line has its limit of 128 KiB
        word = secrets.token_hex(16)
        lines = self._preamble(word)
        for command in commands:
            lines += [f"{shlex.join(command)} </dev/null", f'nel_frame {word} "$?"']
        shell = ["bash", "-ls"] if self._login_shell else ["sh", "-s"]
        done = self._send(shell, "\n".join([*lines, "exit 0", ""]).encode(), seconds)
        return self._answers(done, word, len(commands))

    def _preamble(self, word: str) -> list[str]:
        path = [f'PATH={shlex.quote(self._bin_dir)}:"$PATH"; export PATH'] if self._bin_dir else []
        return [*path, "TZ=UTC LC_ALL=C; export TZ LC_ALL", FRAME, f"nel_frame {word} begin"]

    def _send(self, argv: Sequence[str], stdin: bytes, seconds: float | None) -> Finished:
        self.round_trips += 1
        return self._transport.run(argv, stdin=stdin, seconds=seconds or self._seconds)

    def _answers(self, done: Finished, word: str, count: int) -> list[Finished]:
        frame = re.compile(rb"\n" + word.encode() + rb" (\w+)\n")
        outs, errs = frame.split(done.out), frame.split(done.err)
        if len(outs) != 2 * (count + 1) + 1 or len(errs) != len(outs):
            msg = f"the shell on {self.place} did not do what it was told: {done.complaint}"
            raise EngineError(msg, hint="nel-action needs a login shell there that starts sh or bash and lets it run")
        return [Finished(int(outs[2 * n + 3]), outs[2 * n + 2], errs[2 * n + 2]) for n in range(count)]

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]]) -> None:
        """Copy files from there to here.

        Raises:
            UnreachableError: the connection broke.
            OSError: a file cannot be read there, or written here.
        """
        self._transport.fetch(files, seconds=self._seconds)

    def close(self) -> None:
        """Let go of the connection."""
        self._transport.close()
