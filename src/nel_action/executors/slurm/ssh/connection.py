"""SSH connections: the route from the spec and `~/.ssh/config`, and authenticated clients for each of its hops."""

from __future__ import annotations

import getpass
import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from nel_action.errors import EngineError, NelActionError, UnreachableError, UsageError
from nel_action.executors.slurm.notices import waiting_for
from nel_action.executors.slurm.ssh.credentials import (
    KnownKeys,
    fingerprint,
    known_hosts_lines,
    known_keys,
    parse_private_key,
    private_key,
    with_certificate,
)
from nel_action.executors.slurm.ssh.openssh_config import HostOptions, check_supported, resolve_host, revoked_keys
from nel_action.executors.slurm.ssh.proxy_command import CommandSocket
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
    options: HostOptions = field(default_factory=lambda: HostOptions({}, Path()), repr=False, compare=False)
    """OpenSSH's options for the host."""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != SSH_PORT else "")

    @property
    def known_hosts_name(self) -> str:
        """Name of the host in a known_hosts file."""
        return self.known_hosts_names[0]

    @property
    def known_hosts_names(self) -> tuple[str, ...]:
        """All names under which OpenSSH looks the host up: its alias, or else its address with and without the port."""
        if alias := self.options.get("hostkeyalias"):
            return (alias,)
        return (self.host,) if self.port == SSH_PORT else (f"[{self.host}]:{self.port}",)


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
        UsageError: `proxy_jump` is malformed, the configuration of OpenSSH cannot be read, or it sets an option that is
            not supported.
    """
    own_key = settings.key_name is not None or settings.key_file is not None
    login = _hop(settings.hostname, environ, settings.username, settings.port, own_key=own_key)
    jump = settings.proxy_jump or login.options.get("proxyjump")
    if settings.proxy_jump is not None:
        # NOTE: the spec's jump hosts replace a ProxyCommand.
        login = replace(login, options=replace(login.options, values=dict(login.options.values) | {"proxycommand": ()}))
    return [*_jump_hosts(jump, environ, (f"{settings.hostname}:{login.port}",), own_key=own_key), login]


def _jump_hosts(jump: str, environ: Mapping[str, str], seen: tuple[str, ...], *, own_key: bool) -> list[Hop]:
    """Return the jump hosts of a list; the first one is reached through its own jump hosts, as with OpenSSH.

    Args:
        jump: the list, as in `ssh -J`.
        environ: its `HOME` contains `.ssh/config`.
        seen: names and ports of the hosts whose lists led here.
        own_key: whether the spec names the key.

    Raises:
        UsageError: the list is malformed, or leads back to a host.
    """
    if jump.lower() in {"", "none"}:
        return []
    hops: list[Hop] = []
    for number, part in enumerate(each for each in jump.split(",") if each.strip()):
        user, host, port = parse_hop(part)
        hop = _hop(host, environ, user, port, own_key=own_key)
        name = f"{host}:{hop.port}"
        if name in seen:
            msg = f"the jump hosts of {seen[0]} lead back to {name}"
            raise UsageError(msg, hint="check ProxyJump in the SSH configuration")
        if number == 0:
            before = _jump_hosts(hop.options.get("proxyjump"), environ, (*seen, name), own_key=own_key)
            hops += before
        else:
            hop = replace(hop, options=replace(hop.options, values=dict(hop.options.values) | {"proxycommand": ()}))
        hops.append(hop)
    return hops


def _hop(host: str, environ: Mapping[str, str], user: str | None, port: int | None, *, own_key: bool) -> Hop:
    """Return a host with OpenSSH's options for it.

    Args:
        host: the name as the spec writes it.
        environ: its `HOME` contains `.ssh/config`.
        user: the user that the spec names.
        port: the port that the spec names.
        own_key: whether the spec names the key.
    """
    options = resolve_host(host, environ, user=user, port=port)
    check_supported(host, options, own_key=own_key)
    number = options.get("port", str(SSH_PORT))
    if not number.isdigit():
        msg = f"the SSH configuration of {host} sets the port {number!r}, which is not a number"
        raise UsageError(msg)
    return Hop(
        host=options.get("hostname", host),
        user=user or options.get("user") or getpass.getuser(),
        port=port or int(number),
        options=options,
    )


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
    credentials = Credentials(
        lines=known_hosts_lines(settings, environ, base_dir),
        key=private_key(settings, environ, base_dir),
        passphrase=(environ.get(settings.key_passphrase_name or "") or "").rstrip("\r\n") or None,
        seconds=settings.connect_timeout,
    )

    def connect(hops: Sequence[Hop]) -> list[paramiko.SSHClient]:
        clients: list[paramiko.SSHClient] = []
        try:
            for hop in hops:
                with waiting_for(f"the SSH connection to {hop}"):
                    clients.append(_connect_hop(hop, clients[-1] if clients else None, credentials))
        except NelActionError:
            for client in reversed(clients):
                client.close()
            raise
        logger.info("connected to %s", " via ".join(str(hop) for hop in reversed(hops)))
        return clients

    return connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What the spec says about keys."""

    lines: list[str] | None = field(repr=False)
    """known_hosts lines; None for the files of OpenSSH."""
    key: paramiko.PKey | None = field(repr=False)
    """The private key; None for the SSH agent and OpenSSH's files."""
    passphrase: str | None = field(repr=False)
    seconds: float
    """Time limit of a connection."""

    def known_keys(self, hop: Hop) -> KnownKeys:
        """Return the keys that are accepted for a host."""
        lines = self.lines
        if lines is None:
            files = [*hop.options.names("userknownhostsfile"), *hop.options.names("globalknownhostsfile")]
            files = files or [str(hop.options.home / ".ssh/known_hosts"), "/etc/ssh/ssh_known_hosts"]
            existing = [Path(path) for path in files if Path(path).is_file()]
            lines = [line for path in existing for line in path.read_text(errors="replace").splitlines()]
        revoked = [f"@revoked * {line}" for line in revoked_keys(hop.options)]
        return known_keys([*lines, *revoked], hop.known_hosts_names)

    def private_keys(self, hop: Hop) -> Iterator[paramiko.PKey]:
        """Yield the private keys to offer: the spec's, or those of the agent and of OpenSSH's files."""
        import paramiko

        if self.key is not None:
            yield self.key
            return
        files, certificates = hop.options.paths("identityfile"), hop.options.paths("certificatefile")
        public = {_public_blob(path) for path in files}
        if hop.options.values.get("identityagent", ("",))[0] != "none":
            only = hop.options.enabled("identitiesonly")
            yield from (key for key in paramiko.Agent().get_keys() if not only or key.get_base64() in public)
        for path in files:
            if not Path(path).is_file():
                continue
            try:
                key = parse_private_key(Path(path).read_text(errors="replace"), self.passphrase)
            except (OSError, ValueError) as error:
                logger.info("%s is not used for %s: %s", path, hop, error)
                continue
            yield with_certificate(key, [*certificates, f"{path}-cert.pub"])


def _public_blob(path: str) -> str:
    """Return the public key next to a private one, in base64; empty if there is none."""
    try:
        return (Path(f"{path}.pub").read_text().split()[1:2] or [""])[0]
    except (OSError, UnicodeDecodeError):
        return ""


def _connect_hop(hop: Hop, previous: paramiko.SSHClient | None, credentials: Credentials) -> paramiko.SSHClient:
    """Connect to one hop.

    Args:
        hop: the host.
        previous: client of the hop before it; None connects directly.
        credentials: what the spec says about keys.

    Raises:
        UnreachableError: the host is down, unverified or rejects the key.
    """
    import paramiko

    known, seconds = credentials.known_keys(hop), credentials.seconds
    sock: socket.socket | paramiko.Channel | None = None
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_host_key_policy(hop, known))
    try:
        # NOTE: the types of the known keys are negotiated; all keys of a host are accepted, also several of one type.
        for key in known.accepted:
            client.get_host_keys().add(_lookup_name(hop), f"{key.get_name()}", key)
        client.connect(
            hop.host,
            port=hop.port,
            username=hop.user,
            sock=(sock := _open_socket(hop, previous, seconds)),
            auth_strategy=_public_key_strategy(hop, credentials),
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            channel_timeout=seconds,
        )
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(KEEPALIVE_SECONDS)
    except paramiko.BadHostKeyException as error:
        client.close()
        others = [key for key in known.accepted if key == error.key]
        if others:
            # NOTE: paramiko compares with one key of each type only.
            rest = tuple(key for key in known.accepted if key.get_name() != error.key.get_name())
            again = replace(known, accepted=(*rest, *others))
            return _connect_hop(hop, previous, replace(credentials, lines=_as_lines(hop, again)))
        _reject_changed(hop, error.key, error.expected_key)
    except UnreachableError:
        client.close()
        raise
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        if isinstance(sock, CommandSocket):
            sock.close()
            hint = f"try it by hand: {hop.options.get('proxycommand')}"
            msg = f"the ProxyCommand for {hop} fails: {sock.error_line}"
            raise UnreachableError(msg, hint=hint) from error
        raise _connection_error(hop, error) from error
    return client


def _lookup_name(hop: Hop) -> str:
    """Return the name under which paramiko looks up the host's keys."""
    return hop.host if hop.port == SSH_PORT else f"[{hop.host}]:{hop.port}"


def _as_lines(hop: Hop, known: KnownKeys) -> list[str]:
    revoked = [f"@revoked * any {blob}" for blob in known.revoked]
    return [f"{hop.known_hosts_name} {key.get_name()} {key.get_base64()}" for key in known.accepted] + revoked


def _public_key_strategy(hop: Hop, credentials: Credentials) -> paramiko.auth_strategy.AuthStrategy:
    """Return how to authenticate: with public keys only, offering each in turn."""
    import paramiko

    class PublicKeys(paramiko.auth_strategy.AuthStrategy):
        """Offers private keys until one is accepted."""

        def get_sources(self) -> NoReturn:
            """Do nothing: `authenticate` is replaced."""
            raise NotImplementedError

        def authenticate(self, transport: paramiko.Transport) -> paramiko.auth_strategy.AuthResult:
            """Offer the keys.

            Raises:
                EngineError: none is accepted, or keys are not sufficient.
            """
            server_key = transport.get_remote_server_key()
            if server_key.get_base64() in credentials.known_keys(hop).revoked:
                _reject_changed(hop, server_key, None)
            offered: list[str] = []
            for key in credentials.private_keys(hop):
                offered.append(fingerprint(key))
                try:
                    remaining = transport.auth_publickey(hop.user, key)
                except paramiko.BadAuthenticationType as error:
                    raise _authentication_error(hop, offered, allowed=error.allowed_types) from error
                except (paramiko.SSHException, OSError, EOFError) as error:
                    if not transport.is_active():
                        raise _authentication_error(hop, offered, closed=True) from error
                    continue
                if "publickey" in remaining:
                    continue  # the server requires several keys
                if remaining:
                    raise _authentication_error(hop, offered, allowed=remaining)
                return paramiko.auth_strategy.AuthResult(strategy=self)
            raise _authentication_error(hop, offered)

    return PublicKeys(paramiko.SSHConfig())


def _authentication_error(
    hop: Hop, offered: Sequence[str], *, allowed: Sequence[str] = (), closed: bool = False
) -> EngineError:
    """Return the error for a failed authentication.

    Args:
        hop: the host.
        offered: fingerprints of the offered keys.
        allowed: the methods that the server requires instead, or in addition.
        closed: whether the server closed the connection.
    """
    if not offered:
        hint = "set execution.key_file or key_name, or load a key into the SSH agent; passwords are not supported"
        return EngineError(f"authentication failed: there is no private key for {hop}", hint=hint)
    if allowed:
        methods = ", ".join(allowed)
        hint = "access by public key alone is needed; ask the cluster's administrators for it"
        return EngineError(f"authentication failed: {hop} requires {methods}", hint=hint)
    keys = ", ".join(offered[:3]) + (f" and {len(offered) - 3} more" if len(offered) > 3 else "")  # noqa: PLR2004
    if closed:
        hint = "it may limit the number of keys: name the right one with execution.key_file or key_name"
        return EngineError(f"authentication failed: {hop} closed the connection after {keys}", hint=hint)
    hint = "check execution.username, and that the public key is in the account's authorized_keys"
    return EngineError(f"authentication failed: {hop} accepts none of the offered keys ({keys})", hint=hint)


def _host_key_policy(hop: Hop, known: KnownKeys) -> paramiko.MissingHostKeyPolicy:
    import paramiko

    class RejectUnknownHosts(paramiko.MissingHostKeyPolicy):
        """Reject every key that the known_hosts lines do not contain."""

        def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
            if key not in known.accepted:
                _reject_unknown(hop, key, known)

    return RejectUnknownHosts()


def _open_socket(hop: Hop, previous: paramiko.SSHClient | None, seconds: float) -> socket.socket | paramiko.Channel:
    if previous is not None:
        transport = previous.get_transport()
        if transport is None:
            msg = "the previous hop closed the connection"
            raise ConnectionError(msg)
        return transport.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=seconds)
    if command := hop.options.get("proxycommand"):
        values = {"h": hop.host, "n": hop.options.get("host", hop.host), "p": str(hop.port), "r": hop.user, "%": "%"}
        command = re.sub("%([hnpr%])", lambda match: values[match[1]], command)
        return CommandSocket(command)
    family = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(hop.options.get("addressfamily"), 0)
    bind = hop.options.get("bindaddress")
    failure: OSError = ConnectionError("the name has no address")
    for *_, address in socket.getaddrinfo(hop.host, hop.port, family, socket.SOCK_STREAM):
        try:
            connection = socket.create_connection((str(address[0]), hop.port), seconds, (bind, 0) if bind else None)
        except OSError as error:
            failure = error
            continue
        # NOTE: paramiko leaves Nagle's algorithm enabled, which adds 40 ms to every command.
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise failure


def _reject_unknown(hop: Hop, key: paramiko.PKey, known: KnownKeys) -> NoReturn:
    msg = f"connection to {hop} rejected: its host key is not known"
    if known.authorities:
        msg += "; the certificate authority for it (@cert-authority) is not supported"
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

    text = str(error) or type(error).__name__
    if isinstance(error, socket.gaierror):
        return UnreachableError(f"unknown host: {hop.host}", hint="check execution.hostname and proxy_jump")
    if isinstance(error, TimeoutError):
        hint = "check the host, the port and firewalls; the login node may also be overloaded"
        return UnreachableError(f"{hop} does not answer", hint=hint)
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(f"{hop} refuses connections", hint="check that the host is up and the port is SSH's")
    if "banner" in text.lower():
        hint = "check the port; a server that is overloaded or blocks this address also closes the connection"
        return UnreachableError(f"{hop} is no SSH server, or closed the connection before it answered", hint=hint)
    if "no acceptable" in text.lower() or "incompatible" in text.lower():
        hint = "the server's SSH is too old (SHA-1 only, for example); connect through a newer host with proxy_jump"
        return UnreachableError(f"{hop} supports none of the required algorithms: {text}", hint=hint)
    if isinstance(error, paramiko.ChannelException):
        hint = "check that the jump host allows forwarding (AllowTcpForwarding) and reaches the next host"
        return UnreachableError(f"the jump host cannot connect to {hop}: {text}", hint=hint)
    return UnreachableError(f"cannot connect to {hop}: {text}", hint="ssh -v shows the details of the connection")
