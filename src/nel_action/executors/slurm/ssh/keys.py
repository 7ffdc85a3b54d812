"""Private keys: from a file, or from a variable whose text has been through forms, editors and secret stores."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nel_action.errors import SecretError, UsageError
from nel_action.spec.slurm import SlurmExecution

if TYPE_CHECKING:
    import paramiko

__all__ = ["normalise", "private_key"]

ARMOUR = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=kind)-----", re.DOTALL)


def private_key(settings: SlurmExecution, environ: Mapping[str, str], base_dir: Path) -> paramiko.PKey | None:
    """Return the key that the spec names; None leaves it to the agent and the usual files.

    Raises:
        SecretError: the variable is not set, or holds no private key.
        UsageError: the file cannot be read, or holds none.
    """
    passphrase = environ.get(settings.key_passphrase_name) if settings.key_passphrase_name else None
    if settings.key_name:
        text = environ.get(settings.key_name)
        if not text:
            msg = f"variable {settings.key_name} is not set"
            raise SecretError(msg, hint="execution.key_name says that it holds the private key for the cluster")
        try:
            return parse(text, passphrase)
        except ValueError as error:
            msg = f"variable {settings.key_name} holds no usable private key: {error}"
            raise SecretError(msg) from None
    if settings.key_file:
        path = base_dir / Path(settings.key_file).expanduser()
        try:
            return parse(path.read_text(), passphrase)
        except OSError as error:
            msg = f"execution.key_file: cannot read {path}: {error.strerror}"
            raise UsageError(msg) from error
        except ValueError as error:
            msg = f"execution.key_file: {path} holds no usable private key: {error}"
            raise UsageError(msg) from None
    return None


def normalise(text: str) -> str:
    r"""Undo what forms do to keys: indentation, CRLF, line ends written as `\n`, or blanks in their place."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in plain.strip():
        plain = plain.replace("\\r\\n", "\n").replace("\\n", "\n")
    found = ARMOUR.search(plain)
    if found is None:
        msg = "it has no '-----BEGIN … PRIVATE KEY-----' and '-----END …' lines"
        raise ValueError(msg)
    kind, body = found["kind"], found["body"]
    # NOTE: an old encrypted PEM has header lines, whose ends mean something
    lines = [textwrap.dedent(body).strip("\n")] if ":" in body else textwrap.wrap("".join(body.split()), 70)
    inner = "\n".join(lines)
    return f"-----BEGIN {kind}-----\n{inner}\n-----END {kind}-----\n"


def parse(text: str, passphrase: str | None) -> paramiko.PKey:
    """Read a private key of whatever kind.

    Raises:
        ValueError: it is none, or the passphrase is missing or wrong; the message never holds any of it.
    """
    import paramiko

    whole = normalise(text)
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(whole), password=passphrase)
        except paramiko.PasswordRequiredException:
            msg = "it needs a passphrase: name the variable that holds it in execution.key_passphrase_name"
            raise ValueError(msg) from None
        except (paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError):
            continue
    msg = "the passphrase is wrong" if passphrase else "it is damaged, or of a kind that is no longer accepted"
    raise ValueError(msg)
