"""Values of variables on their way from the caller to a job: in a file that only its owner reads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nel_action.errors import SecretError
from nel_action.executors.local.attempt import AttemptDir
from nel_action.model.env_ref import EnvRef, EnvSource, host_names
from nel_action.planning.jobs import Job
from nel_action.redaction import Redactor
from nel_action.spec.deployment import ServedDeployment

__all__ = ["Values", "all_references", "mask_file", "masker", "now", "read_values", "resolve"]

Values = dict[str, str]
"""Reference (`host:NAME`, as text for JSON) to value."""


def now(references: Iterable[EnvRef], environ: Mapping[str, str]) -> Values:
    """Look up what must be looked up by the caller: every `host:NAME`.

    Raises:
        SecretError: variables that are not set, by name.
    """
    names = host_names(references)
    missing = [name for name in names if name not in environ]
    if missing:
        msg = f"{'variable' if len(missing) == 1 else 'variables'} {', '.join(missing)} not set"
        raise SecretError(msg, hint="the spec asks for it with host:NAME; set it where nel-action runs")
    return {str(EnvRef.host(name)): environ[name] for name in names}


def all_references(job: Job) -> list[EnvRef]:
    """Return every reference of a job and of its servers."""
    served = job.deployment.env_vars if isinstance(job.deployment, ServedDeployment) else {}
    further = [one.env_vars for one in job.auxiliary.values() if isinstance(one, ServedDeployment)]
    return [*job.env.values(), *(value for one in (served, *further) for value in one.values())]


def read_values(attempt: AttemptDir) -> Values:
    """Return the values that were left for the attempt; none where they are gone."""
    try:
        values: Values = json.loads(attempt.secrets.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return values


def resolve(env: Mapping[str, EnvRef], values: Values, environ: Mapping[str, str]) -> dict[str, str]:
    """Turn variables' references into their values: those left by the caller, `runtime:NAME` from here, `lit:`.

    Raises:
        SecretError: a value is not there.
    """
    return {name: _value(reference, values, environ) for name, reference in env.items()}


def _value(reference: EnvRef, values: Values, environ: Mapping[str, str]) -> str:
    if reference.source is EnvSource.LITERAL:
        return reference.value
    host = reference.source is EnvSource.HOST
    found = values.get(str(reference)) if host else environ.get(reference.value)
    if found is None:
        msg = f"variable {reference.value} has no value where the job runs ({reference})"
        raise SecretError(msg)
    return found


def masker(values: Iterable[str]) -> Callable[[str], str]:
    """Return a function that hides the values in a line of text, in every form that encoders make of them."""
    return Redactor(values)


def _shows_any(path: Path, mask: Callable[[str], str]) -> bool:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        return any(mask(line) != line for line in lines)


def mask_file(path: Path, mask: Callable[[str], str]) -> None:
    """Hide values in a log file for good; the file is replaced, never half written."""
    if not path.exists() or not _shows_any(path, mask):
        return
    partial = path.with_name(f".{path.name}.masked")
    with (
        path.open(encoding="utf-8", errors="surrogateescape", newline="") as old,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as new,
    ):
        new.writelines(mask(line) for line in old)
        new.flush()
        os.fsync(new.fileno())
    partial.replace(path)
