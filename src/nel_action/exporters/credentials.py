"""Secrets from the environment, or from a file that is mounted for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nel_action.errors import SecretError

__all__ = ["secret"]


def secret(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of `name`, or what stands in the file that `<name>_FILE` points to.

    Raises:
        SecretError: the file cannot be read.
    """
    if environ.get(name):
        return environ[name]
    path = environ.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read the file that {name}_FILE names"
        raise SecretError(msg, hint=getattr(error, "strerror", None) or "it is not text") from error
