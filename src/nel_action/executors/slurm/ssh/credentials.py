"""Credentials of SSH connections: the caller's private key and the known keys of the hosts."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nel_action.errors import SecretError, UsageError
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = ["fingerprint", "known_hosts_lines", "parse_known_hosts", "private_key"]

PEM: Final = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=kind)-----", re.DOTALL)


def private_key(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> paramiko.PKey | None:
    """Load the private key that the spec names.

    Args:
        settings: names the variable (`key_name`) or the file (`key_file`).
        environ: values of variables.
        base_dir: folder of the spec, for relative paths.

    Returns:
        The key, or None to use the SSH agent and the default files.

    Raises:
        SecretError: the variable is not set or contains no private key.
        UsageError: the file is unreadable or contains no private key.
    """
    passphrase = environ.get(settings.key_passphrase_name) if settings.key_passphrase_name else None
    if settings.key_name:
        text = environ.get(settings.key_name)
        if not text:
            msg = f"variable {settings.key_name} is not set"
            raise SecretError(msg, hint="execution.key_name expects the private key for the cluster in it")
        try:
            return parse_private_key(text, passphrase)
        except ValueError as error:
            msg = f"variable {settings.key_name} contains no usable private key: {error}"
            raise SecretError(msg) from None
    if settings.key_file:
        path = base_dir / Path(settings.key_file).expanduser()
        try:
            return parse_private_key(path.read_text(), passphrase)
        except OSError as error:
            msg = f"execution.key_file: cannot read {path}: {error.strerror}"
            raise UsageError(msg) from error
        except ValueError as error:
            msg = f"execution.key_file: {path} contains no usable private key: {error}"
            raise UsageError(msg) from None
    return None


def normalise_pem(text: str) -> str:
    r"""Restore the line structure of a PEM text that a web form, an editor or a secret store has changed.

    Accepts indentation, CRLF, and line ends replaced by `\n` or by spaces.

    Raises:
        ValueError: the text has no BEGIN and END lines.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in plain.strip():
        plain = plain.replace("\\r\\n", "\n").replace("\\n", "\n")
    match = PEM.search(plain)
    if match is None:
        msg = "it has no '-----BEGIN … PRIVATE KEY-----' and '-----END …' lines"
        raise ValueError(msg)
    kind, body = match["kind"], match["body"]
    # NOTE: traditional encrypted PEM has header lines, whose line ends are significant.
    lines = [textwrap.dedent(body).strip("\n")] if ":" in body else textwrap.wrap("".join(body.split()), 70)
    content = "\n".join(lines)
    return f"-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n"


def parse_private_key(text: str, passphrase: str | None) -> paramiko.PKey:
    """Parse an Ed25519, ECDSA or RSA private key.

    Raises:
        ValueError: it is no such key, or the passphrase is missing or wrong; the message quotes none of the key.
    """
    import paramiko

    pem = normalise_pem(text)
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(pem), password=passphrase)
        except paramiko.PasswordRequiredException:
            msg = "it needs a passphrase: set execution.key_passphrase_name to the variable with the passphrase"
            raise ValueError(msg) from None
        except (paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError):
            continue
    msg = "the passphrase is wrong" if passphrase else "it is damaged or of an unsupported type"
    raise ValueError(msg)


def known_hosts_lines(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> list[str]:
    """Return the lines of the known_hosts source that the spec selects, else of the default files.

    Args:
        settings: selects a variable (`known_hosts_name`), or a file or lines (`known_hosts`).
        environ: values of variables.
        base_dir: folder of the spec, for relative paths.

    Raises:
        SecretError: the variable is not set.
        UsageError: the file cannot be read.
    """
    if settings.known_hosts_name:
        text = environ.get(settings.known_hosts_name)
        if not text:
            msg = f"variable {settings.known_hosts_name} is not set"
            raise SecretError(msg, hint="execution.known_hosts_name expects the cluster's host keys in it")
        return text.splitlines()
    if settings.known_hosts is not None:
        return _lines_or_file(settings.known_hosts, base_dir)
    home = Path(environ.get("HOME", "~")).expanduser()
    defaults = (home / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts"))
    return [line for path in defaults if path.is_file() for line in path.read_text(errors="replace").splitlines()]


def _lines_or_file(text: str, base_dir: Path) -> list[str]:
    # NOTE: a known_hosts line has at least three fields; a path rarely contains two spaces.
    if len(text.split()) > 2 or "\n" in text:  # noqa: PLR2004
        return text.splitlines()
    path = base_dir / Path(text).expanduser()
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError as error:
        msg = f"execution.known_hosts: cannot read {path}: {error.strerror}"
        raise UsageError(msg, hint="write the known_hosts lines themselves, or the path of a file with them") from error


def parse_known_hosts(lines: list[str]) -> tuple[paramiko.HostKeys, set[str]]:
    """Parse known_hosts lines; malformed lines are skipped.

    Returns:
        The keys by host, and the revoked keys in base64.
    """
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


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint in OpenSSH's notation."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
