"""Credentials of SSH connections: the caller's private key and the known keys of the hosts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nel_action.errors import SecretError, UsageError
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = [
    "KnownKeys",
    "fingerprint",
    "known_hosts_lines",
    "known_keys",
    "matches_host",
    "parse_private_key",
    "private_key",
    "with_certificate",
]

PEM: Final = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=kind)-----", re.DOTALL)


LOCKED: Final = "it needs a passphrase: set execution.key_passphrase_name to the variable with the passphrase"


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
    passphrase = passphrase.rstrip("\r\n") if passphrase else None
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
            return with_certificate(parse_private_key(path.read_text(), passphrase), [f"{path}-cert.pub"])
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
    """Parse an Ed25519, ECDSA or RSA private key in OpenSSH's, the traditional or the PKCS#8 format.

    Raises:
        ValueError: it is no such key, or the passphrase is missing or wrong; the message quotes none of the key.
    """
    import paramiko

    pem = normalise_pem(text)
    if re.match(r"-----BEGIN (ENCRYPTED )?PRIVATE KEY", pem):
        pem, passphrase = _convert_pkcs8(pem, passphrase), None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(pem), password=passphrase)
        except paramiko.PasswordRequiredException:
            raise ValueError(LOCKED) from None
        except (paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError):
            continue
    msg = "the passphrase is wrong" if passphrase else "it is damaged or of an unsupported type"
    raise ValueError(msg)


def _convert_pkcs8(pem: str, passphrase: str | None) -> str:
    """Convert a key from PKCS#8 to OpenSSH's format, which paramiko reads.

    Raises:
        ValueError: the passphrase is missing or wrong, or the key is damaged.
    """
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(pem.encode(), passphrase.encode() if passphrase else None)
    except TypeError:
        # NOTE: the library reports a superfluous passphrase in the same way as a missing one.
        if passphrase is None:
            raise ValueError(LOCKED) from None
        key = serialization.load_pem_private_key(pem.encode(), None)
    except ValueError:
        msg = "the passphrase is wrong" if passphrase else "it is damaged"
        raise ValueError(msg) from None
    encoding, none = serialization.Encoding.PEM, serialization.NoEncryption()
    return bytes(key.private_bytes(encoding, serialization.PrivateFormat.OpenSSH, none)).decode()


def with_certificate(key: paramiko.PKey, paths: Sequence[str]) -> paramiko.PKey:
    """Attach the first certificate that is for this key; the others and missing files are ignored."""
    import paramiko

    for path in paths:
        try:
            text = Path(path).read_text().strip()
            kind, blob = text.split()[:2]
            message = paramiko.Message(base64.b64decode(blob))
            message.get_string(), message.get_string()  # its type and a nonce
            public = paramiko.Message(key.asbytes())
            public.get_string()
        except (OSError, ValueError, IndexError, paramiko.SSHException):
            continue
        if "-cert-" in kind and message.get_remainder().startswith(public.get_remainder()):
            key.load_certificate(text)
            return key
    return key


def known_hosts_lines(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> list[str] | None:
    """Return the lines of the known_hosts source that the spec selects; None for the files of OpenSSH.

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
    return None if settings.known_hosts is None else _lines_or_file(settings.known_hosts, base_dir)


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


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """The keys that known_hosts lines accept for one host."""

    accepted: tuple[paramiko.PKey, ...]
    revoked: frozenset[str]
    """In base64."""
    authorities: int
    """Number of certificate authorities for the host, which are not supported."""


def known_keys(lines: Sequence[str], names: Sequence[str]) -> KnownKeys:
    """Return the keys for a host; malformed lines are skipped.

    Args:
        lines: known_hosts lines.
        names: the names of the host that OpenSSH would look up (`[login.example]:2222`).
    """
    import paramiko

    accepted, revoked, authorities = list[paramiko.PKey](), set[str](), 0
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        marker, fields = "", line.split()
        if line.startswith("@"):
            marker, *fields = fields
        if line.startswith("#") or len(fields) < 3:  # noqa: PLR2004 hosts, type and key
            continue
        if marker == "@revoked":
            revoked.add(fields[2])
        elif not any(matches_host(fields[0], name) for name in names):
            continue
        elif marker:
            authorities += marker == "@cert-authority"
        else:
            with suppress(paramiko.SSHException, ValueError):
                entry = paramiko.hostkeys.HostKeyEntry.from_line(f"host {fields[1]} {fields[2]}", number)
                accepted += [entry.key] if entry is not None else []
    return KnownKeys(tuple(accepted), frozenset(revoked), authorities)


def matches_host(patterns: str, name: str) -> bool:
    """Whether the first field of a known_hosts line is for a host: names, wildcards, negations or a hash."""
    import paramiko

    if patterns.startswith("|1|"):
        with suppress(ValueError, AssertionError):
            return hmac.compare_digest(paramiko.HostKeys.hash_host(name, patterns), patterns)
        return False
    matched = False
    for pattern in patterns.lower().split(","):
        # NOTE: only * and ? are wildcards; brackets enclose the host before a port.
        expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern.removeprefix("!"))
        if re.fullmatch(expression, name.lower()):
            if pattern.startswith("!"):
                return False
            matched = True
    return matched


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's fingerprint in OpenSSH's notation."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
