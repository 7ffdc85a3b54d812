"""Variables of exports: secrets from the environment or a mounted file, and references in a spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nel_action.errors import SecretError
from nel_action.model.env_ref import EnvRef

__all__ = ["read_secret", "resolve_variables"]


def read_secret(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of the variable `name`, or the content of the file that `<name>_FILE` names.

    Raises:
        SecretError: the file is not readable.
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
        raise SecretError(msg, hint=getattr(error, "strerror", None) or "the file is not UTF-8 text") from error


def resolve_variables(references: Mapping[str, EnvRef], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with the variables of a spec's `env_vars` added.

    Exports run on this machine, so `host:NAME` and `runtime:NAME` are both read from `environ`.

    Args:
        references: references by the name of the variable to set.
        environ: variables of this process.

    Raises:
        SecretError: a referenced variable is not set.
    """
    resolved = dict(environ)
    for name, reference in references.items():
        if reference.literal_value is not None:
            resolved[name] = reference.literal_value
        elif reference.value in environ:
            resolved[name] = environ[reference.value]
        else:
            msg = f"the export needs {name}, but {reference.value} is not set"
            raise SecretError(msg, hint=f"set {reference.value}, or remove {name} from env_vars")
    return resolved
