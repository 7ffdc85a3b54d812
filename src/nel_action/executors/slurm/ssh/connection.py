"""SSH connections: the route from the spec and `~/.ssh/config`, and authenticated clients for each of its hops."""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from nel_action.errors import EngineError, UnreachableError, UsageError
from nel_action.executors.slurm.ssh.credentials import fingerprint, known_hosts_lines, parse_known_hosts, private_key
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = ["Connect", "Hop", "connector", "parse_hop", "route"]

logger = logging.getLogger(__name__)

SSH_PORT: Final = 22

KEEPALIVE_SECONDS: Final = 30
"""Interval of keepalive messages, which prevent firewalls from dropping an idle connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One host of a route; the last one is the login node."""

    host: str
    user: str
    port: int = SSH_PORT
    key_files: tuple[str, ...] = ()
    """Private keys that `~/.ssh/config` names for the host."""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != SSH_PORT else "")

    @property
    def known_hosts_name(self) -> str:
        """Name of the host in a known_hosts file."""
        return self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}"


Connect = Callable[[Sequence[Hop]], "list[paramiko.SSHClient]"]
"""Connects to all hops of a route; returns one client per hop."""


def parse_hop(text: str) -> tuple[str | None, str, int | None]:
    """Split `user@host:port`; an IPv6 address with a port is written in brackets.

    Returns:
        User, host and port; None where the text has none.

    Raises:
        UsageError: there is no host, or the port is not a number.
    """
    user, _, rest = text.strip().rpartition("@")
    host, port = (rest, "") if rest.count(":") > 1 and not rest.startswith("[") else _split_port(rest)
    if not host or (port and not port.isdigit()):
        msg = f"execution.proxy_jump: {text!r} is not user@host:port"
        raise UsageError(msg)
    return user or None, host, int(port) if port else None


def _split_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def route(settings: SlurmExecution, environ: Mapping[str, str]) -> list[Hop]:
    """Return the hosts to connect through, the login node last.

    Raises:
        UsageError: `proxy_jump` is malformed or `~/.ssh/config` cannot be read.
    """
    config = _ssh_config(environ)
    options = config.lookup(settings.hostname) if config else {}
    jump = settings.proxy_jump or options.get("proxyjump", "")
    jumps = [] if jump.lower() == "none" else [part for part in jump.split(",") if part.strip()]
    hops = [_hop(config, *parse_hop(part)) for part in jumps]
    return [*hops, _hop(config, settings.username, settings.hostname, settings.port)]


def _hop(config: paramiko.SSHConfig | None, user: str | None, host: str, port: int | None) -> Hop:
    options = config.lookup(host) if config else {}
    return Hop(
        host=options.get("hostname", host),
        user=user or options.get("user") or getpass.getuser(),
        port=port or int(options.get("port", SSH_PORT)),
        key_files=tuple(options.get("identityfile", ())),
    )


def _ssh_config(environ: Mapping[str, str]) -> paramiko.SSHConfig | None:
    import paramiko

    path = Path(environ.get("HOME", "~")).expanduser() / ".ssh/config"
    if not path.is_file():
        return None
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except UnicodeDecodeError as error:
        msg = f"cannot read {path}: byte {error.object[error.start]:#04x} at offset {error.start} is not valid UTF-8"
        raise UsageError(msg, hint=f"convert it: iconv -f latin1 -t utf-8 {path}") from error
    except (OSError, ValueError, paramiko.ConfigParseError) as error:
        msg = f"cannot read {path}: {error}"
        raise UsageError(msg) from error


def connector(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> Connect:
    """Load the credentials and return a function that connects to all hops of a route.

    Args:
        settings: names the credentials and the time limit.
        environ: values of variables.
        base_dir: folder of the spec, for relative paths.

    Raises:
        SecretError: a variable with a credential is not set or not usable.
        UsageError: a file with a credential is unreadable or malformed.
    """
    lines = known_hosts_lines(settings, environ, base_dir)
    key = private_key(settings, environ, base_dir)

    def connect(hops: Sequence[Hop]) -> list[paramiko.SSHClient]:
        clients: list[paramiko.SSHClient] = []
        try:
            for hop in hops:
                previous = clients[-1] if clients else None
                clients.append(_connect_hop(hop, previous, lines, key, settings.connect_timeout))
        except UnreachableError:
            for client in reversed(clients):
                client.close()
            raise
        logger.info("connected to %s", " via ".join(str(hop) for hop in reversed(hops)))
        return clients

    return connect


def _connect_hop(
    hop: Hop, previous: paramiko.SSHClient | None, lines: list[str], key: paramiko.PKey | None, seconds: float
) -> paramiko.SSHClient:
    """Connect to one hop.

    Args:
        hop: the host.
        previous: client of the hop before it; None connects directly.
        lines: known_hosts lines.
        key: the private key; None uses the SSH agent and the default files.
        seconds: time limit.

    Raises:
        UnreachableError: the host is down, unverified or rejects the key.
    """
    import paramiko

    keys, revoked = parse_known_hosts(lines)
    client = paramiko.SSHClient()
    for name in keys:
        for host_key in keys[name].values():
            client.get_host_keys().add(name, host_key.get_name(), host_key)
    client.set_missing_host_key_policy(_rejection_policy(hop))
    try:
        client.connect(
            hop.host,
            port=hop.port,
            username=hop.user,
            sock=_open_socket(hop, previous, seconds),
            pkey=key,
            key_filename=None if key else _existing(hop.key_files),  # type: ignore[arg-type]  # takes a list as well
            allow_agent=key is None,
            look_for_keys=key is None,
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            channel_timeout=seconds,
        )
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(KEEPALIVE_SECONDS)
            server_key = transport.get_remote_server_key()
            if server_key.get_base64() in revoked:
                _reject_changed(hop, server_key, None)
    except paramiko.BadHostKeyException as error:
        client.close()
        _reject_changed(hop, error.key, error.expected_key)
    except UnreachableError:
        client.close()
        raise
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        raise _connection_error(hop, error) from error
    return client


def _existing(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if Path(path).is_file()]


def _rejection_policy(hop: Hop) -> paramiko.MissingHostKeyPolicy:
    import paramiko

    class RejectUnknownHosts(paramiko.MissingHostKeyPolicy):
        """Reject every host that is not in the known_hosts lines."""

        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
            _reject_unknown(hop, key)

    return RejectUnknownHosts()


def _open_socket(hop: Hop, previous: paramiko.SSHClient | None, seconds: float) -> socket.socket | paramiko.Channel:
    if previous is not None:
        transport = previous.get_transport()
        if transport is None:
            msg = "the previous hop closed the connection"
            raise ConnectionError(msg)
        return transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=seconds)
    # NOTE: paramiko leaves Nagle's algorithm enabled, which adds 40 ms to every command.
    connection = socket.create_connection((hop.host, hop.port), timeout=seconds)
    with suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _reject_unknown(hop: Hop, key: paramiko.PKey) -> NoReturn:
    msg = f"connection to {hop} rejected: its host key is not known"
    raise EngineError(msg, hint=_known_hosts_hint(hop, key))


def _reject_changed(hop: Hop, key: paramiko.PKey, expected: paramiko.PKey | None) -> NoReturn:
    previous = f" (expected {fingerprint(expected)})" if expected else ""
    msg = f"connection to {hop} rejected: its host key has changed{previous}; the connection may be intercepted"
    raise EngineError(msg, hint=_known_hosts_hint(hop, key))


def _known_hosts_hint(hop: Hop, key: paramiko.PKey) -> str:
    line = f"{hop.known_hosts_name} {key.get_name()} {key.get_base64()}"
    return (
        f"ask the cluster's administrators whether its fingerprint is {fingerprint(key)}; if it is, add this line to "
        f"execution.known_hosts (or to the file or variable that you use):\n  {line}"
    )


def _connection_error(hop: Hop, error: Exception) -> UnreachableError:
    """Translate an error of paramiko or of the socket into one with a hint."""
    import paramiko

    if isinstance(error, paramiko.AuthenticationException):
        hint = "check execution.username and the key (key_file, key_name, or the agent); passwords are not supported"
        return EngineError(f"authentication failed: {hop} accepts none of the offered keys", hint=hint)
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"unknown host: {hop.host}", hint="check execution.hostname and proxy_jump")
    if isinstance(error, TimeoutError):
        hint = "check the host, the port and firewalls; the login node may also be overloaded"
        return UnreachableError(f"{hop} does not answer", hint=hint)
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(f"{hop} refuses connections", hint="check that the host is up and the port is SSH's")
    return UnreachableError(f"cannot connect to {hop}: {str(error) or type(error).__name__}")
