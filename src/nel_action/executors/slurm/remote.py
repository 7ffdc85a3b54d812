"""Remote shell: several commands in one round trip to the login node, each with its own result.

Start-up files of a site and of the account print text, define variables and functions, and read standard input, and the
login shell may be a C shell. The only command line that the login shell parses is therefore `BOOTSTRAP`; the script and
its data are sent on standard input. The script removes what changes the output of its commands (`CLEAN`), every result
is framed by a random token, and output outside the frames is discarded.
"""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from nel_action.errors import EngineError, UnreachableError
from nel_action.executors.slurm.notices import waiting_for
from nel_action.executors.slurm.ssh.connection import connector, route
from nel_action.executors.slurm.ssh.transport import SshTransport, shared
from nel_action.executors.slurm.transport import (
    CommandResult,
    ControllerDownError,
    LocalTransport,
    OutcomeUnknownError,
    Transport,
)
from nel_action.retry import Backoff, retry
from nel_action.spec.slurm import SlurmExecution

__all__ = ["KEPT", "OUTAGE_BACKOFF", "RemoteShell", "open_transport", "retry_outages"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

FRAME: Final = 'nel_frame() { printf \'\\n%s %s\\n\' "$1" "$2"; printf \'\\n%s %s\\n\' "$1" "$2" >&2; }'

UNSET: Final = ("-u", "BASH_ENV", "-u", "ENV", "-u", "SHELLOPTS", "-u", "BASHOPTS", "-u", "POSIXLY_CORRECT")
"""Arguments of `env`: variables that a shell acts on when it starts."""

READ_SCRIPT: Final = "s=$(cat)"
"""Reads the script if no data follows it."""

READ_LINES: Final = 'while IFS= read -r l; do s=$s$l$n; [ "$l" = "#TOKEN end" ] && break; done'
READ_SCRIPT_ONLY: Final = rf'n=$(printf "\nx"); n=${{n%x}}; s=; {READ_LINES}; s=${{s%"$n"}}'
"""Reads the script line by line, since no shell then reads further than the script; the data remain."""

BOOTSTRAP: Final = 'READ; case $s in "#TOKEN begin"*"#TOKEN end") eval "$s" ;; *) exit 96 ;; esac'
"""The only text that the login shell parses: without line ends, exclamation marks and single quotes, in any shell."""

INCOMPLETE: Final = 96
"""Exit status of the bootstrap if a part of the script is missing."""

CLEAN: Final = r"""
unset CDPATH GREP_OPTIONS GREP_COLOR GREP_COLORS TAR_OPTIONS BLOCKSIZE BLOCK_SIZE LANGUAGE SLURM_TIME_FORMAT
unset SSH_CLIENT SSH2_CLIENT
for nel_name in $(env | sed -n 's/^\(\(SQUEUE\|SACCT\|SCANCEL\|SCONTROL\|SBATCH\)_[A-Z_]*\)=.*/\1/p'); do
    case $nel_name in KEPT) ;; *) unset "$nel_name" ;; esac
done
for nel_name in squeue sacct sbatch scancel scontrol srun awk cat cd cp cut date env find grep head id kill ls mkdir \
    mktemp mv printf rm sed sha256sum sort stat tail tar test timeout tr; do
    unset -f "$nel_name" 2>/dev/null
done
set +C
umask 077
TZ=UTC LC_ALL=C
export TZ LC_ALL
"""
"""Removes what start-up files may have set and what changes results; on some sites, they export functions."""

KEPT: Final = ("account", "clusters", "partition", "qos", "reservation")
"""Options of sbatch that start-up files may preset with a variable (`SBATCH_ACCOUNT`) if the spec does not set them."""

OUTAGE_BACKOFF: Final = Backoff(initial=1.0, maximum=10.0)
"""Pauses between tries while the login node or the controller is down."""

LOGGED_ARGUMENTS: Final = 12
LOGGED_CHARACTERS: Final = 200
"""Limits of a command in the log; longer arguments are scripts, which are logged as their length."""


def open_transport(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> Transport:
    """Return the transport to the login node: local processes for `hostname: localhost`, else SSH.

    Nothing is connected before the first command. Executors with the same access share one connection.

    Args:
        settings: how to reach the cluster.
        environ: values of variables.
        base_dir: folder of the spec, for relative paths.

    Raises:
        SecretError: a variable with a credential is not set or not usable.
        UsageError: a file with a credential is unreadable or malformed.
    """
    if settings.hostname == "localhost" and settings.port is None:
        return LocalTransport(environ)
    access = settings.model_dump_json(include=ACCESS)
    names = [name for name in (settings.key_name, settings.key_passphrase_name, settings.known_hosts_name) if name]
    identity = (access, str(base_dir), environ.get("HOME"), *(environ.get(name) for name in names))
    return shared(identity, lambda: SshTransport(route(settings, environ), connector(settings, environ, base_dir)))


ACCESS: Final = {
    *("connect_timeout", "hostname", "key_file", "key_name", "key_passphrase_name", "known_hosts", "known_hosts_name"),
    *("port", "proxy_jump", "username"),
}
"""Settings that determine a connection."""


class RemoteShell:
    """Runs commands on a login node."""

    def __init__(
        self,
        transport: Transport,
        *,
        bin_dir: str | None = None,
        login_shell: bool = False,
        seconds: float = 60,
        preset: Collection[str] = KEPT,
    ) -> None:
        """Wrap a transport.

        Args:
            transport: connection to the login node.
            bin_dir: directory that precedes `PATH` there.
            login_shell: whether commands run in a login shell.
            seconds: default time limit of a round trip.
            preset: options of sbatch whose variables (`SBATCH_ACCOUNT`) are left to the account's start-up files.
        """
        self._transport = transport
        self._bin_dir = bin_dir
        self._login_shell = login_shell
        self._seconds = seconds
        self._preset = preset
        self.round_trips = 0
        """Round trips so far; tests and benchmarks limit them."""

    @property
    def host(self) -> str:
        """Name of the login node in messages."""
        return self._transport.host

    def run(self, *commands: Sequence[str], seconds: float | None = None) -> list[CommandResult]:
        """Run idempotent commands one after another.

        Args:
            commands: argument lists; each may be run twice.
            seconds: time limit of the round trip.

        Returns:
            One result per command.

        Raises:
            UnreachableError: no results arrived, not even over a new connection.
        """
        try:
            return self._run_script(commands, seconds)
        except OutcomeUnknownError as error:
            # NOTE: an idle connection may have died long ago; only a new one shows whether the host is up.
            logger.debug("%s: trying again: %s", self.host, error)
            return self._run_script(commands, seconds)

    def run_once(self, command: Sequence[str], *, stdin: bytes = b"", seconds: float | None = None) -> CommandResult:
        """Run one command that must not be repeated.

        Args:
            command: the argument list.
            stdin: its standard input, of any size; never logged.
            seconds: time limit.

        Raises:
            OutcomeUnknownError: the command may have run.
            UnreachableError: the command has not run.
        """
        token = secrets.token_hex(16)
        lines = [*self._preamble(token), shlex.join(command), f'nel_frame {token} "$?"']
        result = self._send(lines, token, [command], seconds, data=stdin)
        return self._split_frames(result, token, [command])[0]

    def _run_script(self, commands: Sequence[Sequence[str]], seconds: float | None) -> list[CommandResult]:
        token = secrets.token_hex(16)
        lines = self._preamble(token)
        for command in commands:
            lines += [f"{shlex.join(command)} </dev/null", f'nel_frame {token} "$?"']
        return self._split_frames(self._send(lines, token, commands, seconds), token, commands)

    def _preamble(self, token: str) -> list[str]:
        path = [f'PATH={shlex.quote(self._bin_dir)}:"$PATH"; export PATH'] if self._bin_dir else []
        kept = "|".join(f"SBATCH_{name.upper()}" for name in self._preset) or "''"
        return [CLEAN.replace("KEPT", kept), *path, FRAME, f"nel_frame {token} begin"]

    def _send(
        self,
        lines: Sequence[str],
        token: str,
        commands: Sequence[Sequence[str]],
        seconds: float | None,
        *,
        data: bytes | None = None,
    ) -> CommandResult:
        """Send a script and return the output of the login shell.

        Args:
            lines: the script.
            token: first and last word of the script.
            commands: the commands in it, for messages.
            seconds: time limit.
            data: standard input of the script; None for none.
        """
        names = [command[command.index("-c") + 2] if "-c" in command[:-2] else command[0] for command in commands]
        subject = ", ".join(dict.fromkeys(names))
        script = "\n".join([f"#{token} begin", *lines, "exit 0", f"#{token} end"])
        reader = READ_SCRIPT if data is None else READ_SCRIPT_ONLY
        command = ["/usr/bin/env", *UNSET, "sh", "-c", BOOTSTRAP.replace("READ", reader).replace("TOKEN", token)]
        argv = ["bash", "-lc", f"exec {shlex.join(command)}"] if self._login_shell else command
        self.round_trips += 1
        start = time.monotonic()
        stdin = f"{script}\n".encode(errors="surrogateescape") + (data or b"")
        with waiting_for(f"an answer of {subject} on {self.host}"):
            result = self._transport.run(argv, stdin=stdin, seconds=seconds or self._seconds)
        logger.debug("%s: round trip %d took %.2f s", self.host, self.round_trips, time.monotonic() - start)
        if result.code == INCOMPLETE:
            msg = f"a start-up file of the account on {self.host} reads the standard input of commands"
            raise EngineError(msg, hint="let it do so for interactive shells only: case $- in *i*) ... ;; esac")
        return result

    def _split_frames(
        self, result: CommandResult, token: str, commands: Sequence[Sequence[str]]
    ) -> list[CommandResult]:
        frame = re.compile(rb"\n" + token.encode() + rb" (begin|\d+)\n")
        stdout, stderr = frame.split(result.stdout), frame.split(result.stderr)
        expected = ["begin", *(["status"] * len(commands))]
        frames = ["begin" if each == b"begin" else "status" for each in stdout[1::2]]
        if frames != expected or len(stderr) != len(stdout):
            msg = f"unexpected output of the shell on {self.host}: {result.error_line}"
            raise EngineError(msg, hint="the account's login shell must start sh or bash non-interactively")
        results = [
            CommandResult(int(stdout[2 * n + 3]), stdout[2 * n + 2], stderr[2 * n + 2]) for n in range(len(commands))
        ]
        for command, each in zip(commands, results, strict=True):
            _log_result(self.host, command, each)
        return results

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]]) -> None:
        """Copy files from the login node to this machine.

        Raises:
            UnreachableError: the connection broke.
            OSError: a source cannot be read or a target cannot be written.
        """
        logger.debug("%s: fetching %d files", self.host, len(files))
        self._transport.fetch(files, seconds=self._seconds)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


def retry_outages(call: Callable[[], T], seconds: float) -> T:
    """Repeat an idempotent call while the login node or the controller is down.

    Rejected keys and host keys are permanent and not retried.

    Args:
        call: the operation.
        seconds: how long to keep trying.

    Raises:
        UnreachableError: the outage lasted longer, or is permanent.
    """

    def delay(error: Exception) -> float | None:
        permanent = isinstance(error, EngineError) and not isinstance(error, ControllerDownError)
        if permanent or not isinstance(error, UnreachableError):
            return None
        left = deadline - time.monotonic()
        if left > 0:
            logger.warning("%s; trying again for %.0f s (execution.outage_timeout)", error.problems[0].message, left)
        return 0.0

    deadline = time.monotonic() + seconds
    return retry(call, delay=delay, deadline=deadline, backoff=OUTAGE_BACKOFF)


def _log_result(host: str, command: Sequence[str], result: CommandResult) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        size, error = len(result.stdout), f": {result.error_line}" if result.code else ""
        logger.debug("%s: %s -> status %d, %d bytes%s", host, _abbreviate(command), result.code, size, error)


def _abbreviate(command: Sequence[str]) -> str:
    """Return a command for the log; no argument contains a secret, since those are sent on standard input."""
    shown = [
        shlex.quote(word) if len(word) <= LOGGED_CHARACTERS and "\n" not in word else f"<{len(word)} characters>"
        for word in command[:LOGGED_ARGUMENTS]
    ]
    more = [f"<{len(command) - LOGGED_ARGUMENTS} more>"] if len(command) > LOGGED_ARGUMENTS else []
    return " ".join([*shown, *more])
