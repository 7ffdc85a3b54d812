"""SSH: one connection, kept; strict about who is at the other end; honest about what was not heard.

NOTE: measured on a loopback: a dropped connection looks like an empty answer with status -1, a frozen server like
one that thinks for ever, and reading one stream to its end before the other stops both at 2 MB. So status -1 is
"unknown", every wait has its limit, and both streams are read at once.
"""

from __future__ import annotations

import itertools
import logging
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nel_action.errors import EngineError, UnreachableError
from nel_action.executors.slurm.ssh.address import Hop
from nel_action.executors.slurm.transport import Finished, LostError

if TYPE_CHECKING:
    import paramiko

__all__ = ["SshTransport"]

BLOCK: Final = 1 << 16

PREFETCH: Final = 64
"""Requests for blocks of a file that are under way at once: 50 MB took 12 s without a limit, 0.8 s with this one."""

SESSION_PAUSE: Final = 0.2
"""Seconds that a server may need to notice that a session has ended, before another is allowed."""


class SshTransport:
    """Keeps one connection, and makes another when it is gone."""

    def __init__(self, hops: Sequence[Hop], connect: Callable[[Sequence[Hop]], list[paramiko.SSHClient]]) -> None:
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what matters is raised, in our words
        self._hops = list(hops)
        self._connect = connect
        self._chain: list[paramiko.SSHClient] = []
        self._retired: list[paramiko.SSHClient] = []
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """What a person calls the other end."""
        return str(self._hops[-1])

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> Finished:
        """Run one command to its end.

        Raises:
            LostError: its answer did not come, or not whole, in time.
            UnreachableError: it was not started.
        """
        import paramiko

        deadline = time.monotonic() + seconds
        channel = self._session(seconds)
        try:
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            channel.exec_command(shlex.join(argv))
            return _converse(channel, stdin, deadline)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._drop(channel.get_transport())
            how = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else f"{str(error) or 'cut off'}"
            msg = f"lost {self.place} while it worked: {how}"
            raise LostError(msg, hint="whether the command ran will be looked up") from error
        finally:
            channel.close()

    def _session(self, seconds: float) -> paramiko.Channel:
        """Open a session; where the server allows no more of them on this connection, on a fresh one.

        Raises:
            UnreachableError: neither could be had.
        """
        import paramiko

        deadline = time.monotonic() + seconds
        for number in itertools.count():
            transport = self._transport()
            try:
                return transport.open_session(timeout=seconds)
            except (paramiko.SSHException, OSError, EOFError) as error:
                # NOTE: a refusal is not always a ChannelException: where two threads are refused at once, paramiko
                # tells only one of them why. What tells a refusal from a broken connection is that it lives.
                if time.monotonic() > deadline or (number and not transport.is_active()):
                    self._drop(transport)
                    silent = "timeout" in str(error).lower() or isinstance(error, TimeoutError)
                    how = "does not answer" if silent else f"opens no session: {str(error) or type(error).__name__}"
                    msg = f"{self.place} {how}"
                    raise UnreachableError(msg) from error
                if not transport.is_active():
                    self._drop(transport)
                elif number % 2:
                    self._retire(transport)
                else:
                    time.sleep(SESSION_PAUSE)
        raise AssertionError

    def _transport(self) -> paramiko.Transport:
        with self._lock:
            transport = self._chain[-1].get_transport() if self._chain else None
            if transport is None or not transport.is_active():
                _close(self._chain)
                self._chain = self._connect(self._hops)
                transport = self._chain[-1].get_transport()
            if transport is None:
                msg = f"{self.place} hung up at once"
                raise UnreachableError(msg)
            return transport

    def _drop(self, transport: paramiko.Transport | None) -> None:
        """Hang up, unless another thread has already made another connection."""
        with self._lock:
            if self._chain and self._chain[-1].get_transport() in {transport, None}:
                _close(self._chain)
                self._chain = []

    def _retire(self, transport: paramiko.Transport) -> None:
        """Leave a connection to those who still use it."""
        with self._lock:
            if self._chain and self._chain[-1].get_transport() is transport:
                self._retired += self._chain
                self._chain = []

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:
        """Copy files by SFTP.

        Raises:
            LostError: the connection broke.
            OSError: a file cannot be read there, or written here.
        """
        import paramiko

        channel = self._session(seconds)
        try:
            channel.settimeout(seconds)
            channel.invoke_subsystem("sftp")
            sftp = paramiko.SFTPClient(channel)
            for source, target in files:
                _fetch(sftp, str(source), target)
        except (paramiko.SSHException, EOFError, ConnectionError, TimeoutError) as error:
            self._drop(channel.get_transport())
            msg = f"lost {self.place} while files were copied: {str(error) or 'cut off'}"
            raise LostError(msg) from error
        except OSError as error:
            # NOTE: paramiko reports a closed socket as a bare OSError; a file's own error has a number
            if error.errno is None:
                self._drop(channel.get_transport())
                msg = f"lost {self.place} while files were copied: {error}"
                raise LostError(msg) from error
            raise
        finally:
            channel.close()

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            _close([*self._retired, *self._chain])
            self._retired, self._chain = [], []


def _fetch(sftp: paramiko.SFTPClient, source: str, target: Path) -> None:
    """Copy one file, with many requests for its blocks under way at once."""
    import paramiko

    with sftp.open(source, "rb") as handle, target.open("wb") as out:
        ask = handle._prefetch_thread  # type: ignore[attr-defined]  # noqa: SLF001

        # NOTE: paramiko asks for blocks in a thread of its own, which would print a traceback when the connection
        # breaks; the reader below notices the same thing and raises it.
        def ask_quietly(*args: object) -> None:
            with suppress(OSError, EOFError, paramiko.SSHException):
                ask(*args)

        handle._prefetch_thread = ask_quietly  # type: ignore[attr-defined]  # noqa: SLF001
        handle.prefetch(handle.stat().st_size or 0, PREFETCH)
        while block := handle.read(BLOCK):
            out.write(block)


def _close(chain: Sequence[paramiko.SSHClient]) -> None:
    for client in reversed(chain):
        client.close()


def _converse(channel: paramiko.Channel, stdin: bytes, deadline: float) -> Finished:
    """Send all of `stdin`, read both streams to their ends, and take the exit status.

    Raises:
        LostError: there is no exit status.
        OSError: a limit was reached, or the connection broke.
    """
    err: list[bytes] = []
    trouble: list[Exception] = []
    reader = threading.Thread(target=_drain, args=(channel.recv_stderr, channel, err, trouble, deadline), daemon=True)
    reader.start()
    out: list[bytes] = []
    _send(channel, stdin, deadline)
    channel.shutdown_write()
    _drain(channel.recv, channel, out, trouble, deadline)
    reader.join(max(0.1, deadline - time.monotonic()))
    if trouble:
        raise trouble[0]
    if not channel.status_event.wait(max(0.1, deadline - time.monotonic())):
        raise TimeoutError
    if channel.exit_status < 0:
        msg = "the connection ended before the command did, or the command was killed"
        raise LostError(msg)
    return Finished(channel.exit_status, b"".join(out), b"".join(err))


def _send(channel: paramiko.Channel, data: bytes, deadline: float) -> None:
    sent = 0
    while sent < len(data):
        channel.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            sent += channel.send(data[sent : sent + BLOCK])
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            return  # the command did not want to read it all; its answer says why


def _drain(
    receive: Callable[[int], bytes],
    channel: paramiko.Channel,
    into: list[bytes],
    trouble: list[Exception],
    deadline: float,
) -> None:
    try:
        while True:
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            if not (data := receive(BLOCK)):
                return
            into.append(data)
            if time.monotonic() > deadline:
                raise TimeoutError
    except OSError as error:
        trouble.append(error)


def connection_error(hop: Hop, error: Exception) -> UnreachableError:
    """Say in the user's words why there is no connection."""
    import paramiko

    if isinstance(error, paramiko.AuthenticationException):
        hint = "check execution.username and the key (key_file, key_name, or the agent); passwords are never used"
        return EngineError(f"{hop} accepts none of the keys that were offered", hint=hint)
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"there is no host {hop.host}", hint="check execution.hostname and proxy_jump")
    if isinstance(error, TimeoutError):
        hint = "check the host, the port and what stands between; a login node may also be overloaded"
        return UnreachableError(f"{hop} does not answer", hint=hint)
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(f"{hop} refuses connections", hint="is SSH on that port, and is the node up?")
    return UnreachableError(f"no connection to {hop}: {str(error) or type(error).__name__}")
