"""Transport over one SSH connection, which is kept open and replaced when it breaks.

NOTE: measured with paramiko: a dropped connection looks like an empty result with status -1, a frozen server like a
slow command, and reading the two output streams one after the other deadlocks at 2 MB. Hence status -1 means
"unknown", every wait has a time limit, and both streams are read at the same time.
"""

from __future__ import annotations

import itertools
import logging
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nel_action.errors import UnreachableError
from nel_action.executors.slurm.ssh.connection import Connect, Hop
from nel_action.executors.slurm.transport import CommandResult, OutcomeUnknownError
from nel_action.retry import Backoff, poll_until

if TYPE_CHECKING:
    import paramiko

__all__ = ["SshTransport", "shared"]

logger = logging.getLogger(__name__)

BLOCK: Final = 1 << 16
"""Bytes per read or write."""

PREFETCH: Final = 64
"""Concurrent block requests per file: 50 MB took 12 s with unlimited requests, 0.8 s with this limit."""

SESSION_BACKOFF: Final = Backoff(initial=0.2, factor=1, jitter=0)
"""Pause between tries to open a session: a server may need it to notice that another session has closed."""


class SshTransport:
    """Runs commands and copies files over SSH."""

    def __init__(self, hops: Sequence[Hop], connect: Connect) -> None:
        """Store the route; nothing is connected before the first command.

        Args:
            hops: the hosts of the route, the login node last.
            connect: connects to all of them.
        """
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors are raised again with our messages
        self._hops = list(hops)
        self._connect = connect
        self._clients: list[paramiko.SSHClient] = []
        self._retired: list[paramiko.SSHClient] = []
        self._lock = threading.Lock()
        self._users = 0
        self._sftp: paramiko.SFTPClient | None = None
        self._sftp_lock = threading.Lock()

    @property
    def host(self) -> str:
        """Name of the login node in messages."""
        return str(self._hops[-1])

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
        import paramiko

        deadline = time.monotonic() + seconds
        channel = self._open_session(seconds)
        try:
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            channel.exec_command(shlex.join(argv))
            return _communicate(channel, stdin, deadline)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._drop(channel.get_transport())
            cause = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else str(error) or "cut off"
            msg = f"lost the connection to {self.host} during a command: {cause}"
            raise OutcomeUnknownError(msg, hint="the next try looks up whether the command ran") from error
        finally:
            channel.close()

    def _open_session(self, seconds: float) -> paramiko.Channel:
        """Open a session; use a new connection where the server allows no further session on the current one.

        Raises:
            UnreachableError: no session could be opened.
        """
        import paramiko

        deadline = time.monotonic() + seconds
        tries = itertools.count()

        def open_session() -> paramiko.Channel | None:
            transport = self._transport()
            try:
                return transport.open_session(timeout=seconds)
            except (paramiko.SSHException, OSError, EOFError) as error:
                number = next(tries)
                # NOTE: a refusal is not always a ChannelException: if two threads are refused at the same time,
                # paramiko reports the reason to one of them only. After a refusal the connection is still active.
                if time.monotonic() > deadline or (number and not transport.is_active()):
                    self._drop(transport)
                    timed_out = "timeout" in str(error).lower() or isinstance(error, TimeoutError)
                    cause = (
                        "does not answer" if timed_out else f"opens no session: {str(error) or type(error).__name__}"
                    )
                    msg = f"{self.host} {cause}"
                    raise UnreachableError(msg) from error
                if not transport.is_active():
                    self._drop(transport)
                elif number % 2:
                    self._retire(transport)
                return None

        channel = poll_until(open_session, deadline=None, backoff=SESSION_BACKOFF)
        if channel is None:
            raise AssertionError  # without a deadline, only a channel ends the polling
        return channel

    def _transport(self) -> paramiko.Transport:
        with self._lock:
            transport = self._clients[-1].get_transport() if self._clients else None
            if transport is None or not transport.is_active():
                _close(self._clients)
                self._clients = self._connect(self._hops)
                transport = self._clients[-1].get_transport()
            if transport is None:
                msg = f"{self.host} closed the connection immediately"
                raise UnreachableError(msg)
            return transport

    def _drop(self, transport: paramiko.Transport | None) -> None:
        """Close the connection, unless another thread has already replaced it."""
        with self._lock:
            if self._clients and self._clients[-1].get_transport() in {transport, None}:
                logger.debug("%s: closing the connection", self.host)
                _close(self._clients)
                self._clients = []

    def _retire(self, transport: paramiko.Transport) -> None:
        """Open no further sessions on a connection, but keep it for the threads that use it."""
        with self._lock:
            if self._clients and self._clients[-1].get_transport() is transport:
                self._retired += self._clients
                self._clients = []

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:
        """Copy files by SFTP.

        Args:
            files: source on the login node and target on this machine.
            seconds: time limit without progress.

        Raises:
            OutcomeUnknownError: the connection broke.
            OSError: a source cannot be read or a target cannot be written.
        """
        import paramiko

        with self._sftp_lock:
            sftp = self._open_sftp(seconds)
            try:
                for source, target in files:
                    _fetch(sftp, str(source), target)
            except (paramiko.SSHException, EOFError, ConnectionError, TimeoutError) as error:
                self._drop_sftp(sftp)
                msg = f"lost the connection to {self.host} while copying files: {str(error) or 'cut off'}"
                raise OutcomeUnknownError(msg) from error
            except OSError as error:
                # NOTE: paramiko reports a closed socket as an OSError without a number; errors of files have one.
                if error.errno is None:
                    self._drop_sftp(sftp)
                    msg = f"lost the connection to {self.host} while copying files: {error}"
                    raise OutcomeUnknownError(msg) from error
                raise

    def _open_sftp(self, seconds: float) -> paramiko.SFTPClient:
        """Return the SFTP session; open one if there is none on the current connection.

        Raises:
            OutcomeUnknownError: the connection broke.
        """
        import paramiko

        if self._sftp is not None:
            channel = self._sftp.get_channel()
            if channel is not None and not channel.closed and channel.get_transport().is_active():
                return self._sftp
            self._sftp = None
        channel = self._open_session(seconds)
        try:
            channel.settimeout(seconds)
            channel.invoke_subsystem("sftp")
            self._sftp = paramiko.SFTPClient(channel)
        except (paramiko.SSHException, OSError, EOFError) as error:
            channel.close()
            self._drop(channel.get_transport())
            msg = f"{self.host} opens no SFTP session: {str(error) or 'cut off'}"
            raise OutcomeUnknownError(msg, hint="the login node must offer SFTP (Subsystem sftp)") from error
        return self._sftp

    def _drop_sftp(self, sftp: paramiko.SFTPClient) -> None:
        channel = sftp.get_channel()
        if channel is not None:
            self._drop(channel.get_transport())
        self._sftp = None

    def close(self) -> None:
        """Close all connections, unless another executor still uses them."""
        with _shared_lock:
            self._users -= 1
            if self._users > 0:
                return
            for identity in [identity for identity, transport in _shared.items() if transport is self]:
                del _shared[identity]
        with self._lock:
            _close([*self._retired, *self._clients])
            self._retired, self._clients, self._sftp = [], [], None


_shared: Final[dict[object, SshTransport]] = {}
_shared_lock: Final = threading.Lock()


def shared(identity: object, create: Callable[[], SshTransport]) -> SshTransport:
    """Return the transport with an identity; create it for its first user.

    Args:
        identity: everything that determines the connection.
        create: creates the transport.
    """
    with _shared_lock:
        transport = _shared.get(identity)
        if transport is None:
            transport = _shared[identity] = create()
        transport._users += 1  # noqa: SLF001 the same module
        return transport


def _fetch(sftp: paramiko.SFTPClient, source: str, target: Path) -> None:
    """Copy one file with concurrent requests for its blocks."""
    import paramiko

    with sftp.open(source, "rb") as handle, target.open("wb") as out:
        request_blocks = handle._prefetch_thread  # type: ignore[attr-defined]  # noqa: SLF001

        # NOTE: paramiko requests the blocks in a thread of its own, which would print a traceback when the connection
        # breaks; the reader below notices the same error and raises it.
        def request_quietly(*args: object) -> None:
            with suppress(OSError, EOFError, paramiko.SSHException):
                request_blocks(*args)

        handle._prefetch_thread = request_quietly  # type: ignore[attr-defined]  # noqa: SLF001
        handle.prefetch(handle.stat().st_size or 0, PREFETCH)
        while block := handle.read(BLOCK):
            out.write(block)


def _close(clients: Sequence[paramiko.SSHClient]) -> None:
    for client in reversed(clients):
        client.close()


def _communicate(channel: paramiko.Channel, stdin: bytes, deadline: float) -> CommandResult:
    """Send `stdin`, read both output streams to their ends, and wait for the exit status.

    Args:
        channel: runs the command.
        stdin: data for its standard input.
        deadline: on the monotonic clock, in seconds.

    Raises:
        OutcomeUnknownError: the server reported no exit status.
        OSError: the deadline passed or the connection broke.
    """
    stderr: list[bytes] = []
    errors: list[Exception] = []
    reader = threading.Thread(
        target=_read_all, args=(channel.recv_stderr, channel, stderr, errors, deadline), daemon=True
    )
    reader.start()
    stdout: list[bytes] = []
    _send(channel, stdin, deadline)
    channel.shutdown_write()
    _read_all(channel.recv, channel, stdout, errors, deadline)
    reader.join(max(0.1, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    if not channel.status_event.wait(max(0.1, deadline - time.monotonic())):
        raise TimeoutError
    if channel.exit_status < 0:
        msg = "the connection closed before the command finished, or the command was killed"
        raise OutcomeUnknownError(msg)
    return CommandResult(channel.exit_status, b"".join(stdout), b"".join(stderr))


def _send(channel: paramiko.Channel, data: bytes, deadline: float) -> None:
    sent = 0
    while sent < len(data):
        channel.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            sent += channel.send(data[sent : sent + BLOCK])
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise
            return  # the command closed its input early; its exit status says whether that is an error


def _read_all(
    receive: Callable[[int], bytes],
    channel: paramiko.Channel,
    blocks: list[bytes],
    errors: list[Exception],
    deadline: float,
) -> None:
    """Append a stream's data to `blocks` until it ends, or an error to `errors`."""
    try:
        while True:
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            if not (data := receive(BLOCK)):
                return
            blocks.append(data)
            if time.monotonic() > deadline:
                raise TimeoutError
    except OSError as error:
        errors.append(error)
