"""Whom to connect to: from the spec and `~/.ssh/config` to hosts, ports and names."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nel_action.errors import UsageError
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = ["Hop", "parse_hop", "route"]

SSH_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One host on the way, the last one being the login node."""

    host: str
    user: str
    port: int = SSH_PORT
    key_files: tuple[str, ...] = ()
    """Private keys that `~/.ssh/config` names for it."""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != SSH_PORT else "")

    @property
    def known_as(self) -> str:
        """Its name in a known_hosts file."""
        return self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}"


def parse_hop(text: str) -> tuple[str | None, str, int | None]:
    """Take `user@host:port` apart; an IPv6 address stands in brackets.

    Raises:
        UsageError: there is no host in it, or the port is no number.
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
    """Return the hosts to go through, the login node last.

    Raises:
        UsageError: `proxy_jump` or `~/.ssh/config` cannot be read.
    """
    config = _config(environ)
    known = config.lookup(settings.hostname) if config else {}
    jump = settings.proxy_jump or known.get("proxyjump", "")
    jumps = [] if jump.lower() == "none" else [part for part in jump.split(",") if part.strip()]
    hops = [_hop(config, *parse_hop(part)) for part in jumps]
    return [*hops, _hop(config, settings.username, settings.hostname, settings.port)]


def _hop(config: paramiko.SSHConfig | None, user: str | None, host: str, port: int | None) -> Hop:
    known = config.lookup(host) if config else {}
    return Hop(
        host=known.get("hostname", host),
        user=user or known.get("user") or getpass.getuser(),
        port=port or int(known.get("port", SSH_PORT)),
        key_files=tuple(known.get("identityfile", ())),
    )


def _config(environ: Mapping[str, str]) -> paramiko.SSHConfig | None:
    import paramiko

    path = Path(environ.get("HOME", "~")).expanduser() / ".ssh/config"
    if not path.is_file():
        return None
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except (OSError, paramiko.ConfigParseError) as error:
        msg = f"{path} cannot be read: {error}"
        raise UsageError(msg) from error
