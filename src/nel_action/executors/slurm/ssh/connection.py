"""Making a connection: through every hop, to known hosts only, with the keys that the spec names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nel_action.errors import UnreachableError
from nel_action.executors.slurm.local import LocalTransport
from nel_action.executors.slurm.ssh.address import Hop, route
from nel_action.executors.slurm.ssh.host_keys import known_hosts, load, refuse_changed, refuse_unknown
from nel_action.executors.slurm.ssh.keys import private_key
from nel_action.executors.slurm.ssh.transport import SshTransport, connection_error
from nel_action.executors.slurm.transport import Transport
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = ["is_local", "open_transport"]

KEEPALIVE = 30
"""Seconds between signs of life, so that nothing on the way forgets an idle connection."""


def is_local(settings: SlurmExecution) -> bool:
    """Tell whether nel-action runs on a login node itself."""
    return settings.hostname == "localhost" and settings.port is None


def open_transport(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> Transport:
    """Return the way to the login node; nothing is connected before the first command.

    Raises:
        UsageError: keys or known hosts are missing or unreadable.
    """
    if is_local(settings):
        return LocalTransport(environ)
    return SshTransport(route(settings, environ), connector(settings, environ, base_dir))


def connector(
    settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path
) -> Callable[[Sequence[Hop]], list[paramiko.SSHClient]]:
    """Return a function that connects through all hops.

    Raises:
        UsageError: keys or known hosts are missing or unreadable.
    """
    lines = known_hosts(settings, environ, base_dir)
    key = private_key(settings, environ, base_dir)

    def connect(hops: Sequence[Hop]) -> list[paramiko.SSHClient]:
        chain: list[paramiko.SSHClient] = []
        try:
            for hop in hops:
                chain.append(_join(hop, chain[-1] if chain else None, lines, key, settings.connect_timeout))
        except UnreachableError:
            for client in reversed(chain):
                client.close()
            raise
        return chain

    return connect


def _join(
    hop: Hop, before: paramiko.SSHClient | None, lines: list[str], key: paramiko.PKey | None, seconds: float
) -> paramiko.SSHClient:
    """Connect to one hop, through the one before it.

    Raises:
        UnreachableError: it cannot be reached, or is not who it should be, or lets nobody in.
    """
    import paramiko

    keys, revoked = load(lines)
    client = paramiko.SSHClient()
    for name in keys:
        for found in keys[name].values():
            client.get_host_keys().add(name, found.get_name(), found)
    client.set_missing_host_key_policy(_refuser(hop))
    try:
        client.connect(
            hop.host,
            port=hop.port,
            username=hop.user,
            sock=_socket(hop, before, seconds),
            pkey=key,
            key_filename=None if key else _existing(hop.key_files),  # type: ignore[arg-type]  # a list is as good
            allow_agent=key is None,
            look_for_keys=key is None,
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            channel_timeout=seconds,
        )
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(KEEPALIVE)
            shown = transport.get_remote_server_key()
            if shown.get_base64() in revoked:
                refuse_changed(hop, shown, None)
    except paramiko.BadHostKeyException as error:
        client.close()
        refuse_changed(hop, error.key, error.expected_key)
    except UnreachableError:
        client.close()
        raise
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        raise connection_error(hop, error) from error
    return client


def _existing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if Path(path).is_file()]


def _refuser(hop: Hop) -> paramiko.MissingHostKeyPolicy:
    import paramiko

    class Refuse(paramiko.MissingHostKeyPolicy):
        """Nobody is trusted at first sight."""

        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
            refuse_unknown(hop, key)

    return Refuse()


def _socket(hop: Hop, before: paramiko.SSHClient | None, seconds: float) -> socket.socket | paramiko.Channel:
    if before is not None:
        transport = before.get_transport()
        if transport is None:
            msg = "the host before it hung up"
            raise ConnectionError(msg)
        return transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=seconds)
    # NOTE: paramiko leaves Nagle's algorithm on, which adds 40 ms to every command
    one = socket.create_connection((hop.host, hop.port), timeout=seconds)
    with suppress(OSError):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one
