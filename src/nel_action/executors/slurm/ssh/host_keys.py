"""Which hosts are known, and refusing the others with the line that would make them known."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nel_action.errors import EngineError, SecretError, UsageError
from nel_action.executors.slurm.ssh.address import Hop
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = ["known_hosts", "refuse_changed", "refuse_unknown"]


def known_hosts(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> list[str]:
    """Return the lines of all known_hosts files that count.

    Raises:
        SecretError: the variable that should hold them is not set.
        UsageError: the file that the spec names cannot be read.
    """
    if settings.known_hosts_name:
        text = environ.get(settings.known_hosts_name)
        if not text:
            msg = f"variable {settings.known_hosts_name} is not set"
            raise SecretError(msg, hint="execution.known_hosts_name says that it holds the cluster's host keys")
        return text.splitlines()
    if settings.known_hosts is not None:
        return _lines_or_file(settings.known_hosts, base_dir)
    home = Path(environ.get("HOME", "~")).expanduser()
    usual = (home / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts"))
    return [line for path in usual if path.is_file() for line in path.read_text(errors="replace").splitlines()]


def _lines_or_file(text: str, base_dir: Path) -> list[str]:
    # NOTE: a line has a name, a kind of key and a key; the path of a file hardly has two blanks
    if len(text.split()) > 2 or "\n" in text:  # noqa: PLR2004
        return text.splitlines()
    path = base_dir / Path(text).expanduser()
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError as error:
        msg = f"execution.known_hosts: cannot read {path}: {error.strerror}"
        raise UsageError(msg, hint="give the lines themselves, or the path of a file with them") from error


def load(lines: list[str]) -> tuple[paramiko.HostKeys, set[str]]:
    """Return the hosts' keys, and those keys that were revoked, in base64."""
    import paramiko

    keys, revoked = paramiko.HostKeys(), set()
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if line.startswith("@revoked"):
            revoked |= set(line.split()[3:4])
        elif line and not line.startswith(("#", "@")):
            try:
                entry = paramiko.hostkeys.HostKeyEntry.from_line(line, number)
            except (paramiko.SSHException, ValueError):
                continue
            if entry is not None:
                for name in entry.hostnames:
                    keys.add(name, entry.key.get_name(), entry.key)
    return keys, revoked


def refuse_unknown(hop: Hop, key: paramiko.PKey) -> NoReturn:
    """Refuse a host that nobody vouched for.

    Raises:
        EngineError: always.
    """
    msg = f"{hop}: its host key is not known, so it was not trusted"
    raise EngineError(msg, hint=_how_to_add(hop, key))


def refuse_changed(hop: Hop, key: paramiko.PKey, expected: paramiko.PKey | None) -> NoReturn:
    """Refuse a host that shows another key than it should.

    Raises:
        EngineError: always.
    """
    was = f" (expected {fingerprint(expected)})" if expected else ""
    msg = f"{hop}: its host key has changed{was}; somebody may stand between, so it was not trusted"
    raise EngineError(msg, hint=_how_to_add(hop, key))


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint as OpenSSH shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def _how_to_add(hop: Hop, key: paramiko.PKey) -> str:
    line = f"{hop.known_as} {key.get_name()} {key.get_base64()}"
    return (
        f"ask the cluster's administrators whether its fingerprint is {fingerprint(key)}; if it is, add this line to "
        f"execution.known_hosts (or to the file or variable that you use):\n  {line}"
    )
