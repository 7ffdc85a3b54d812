"""Values of environment variables: passed from the submitter to the job in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nel_action.errors import SecretError
from nel_action.executors.local.attempt import AttemptDir, JobRecord
from nel_action.model.env_ref import EnvRef, EnvSource, host_names, runtime_names
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import ServedDeployment

__all__ = [
    "Values",
    "env_references",
    "known_secrets",
    "read_host_variables",
    "read_values",
    "redact_file",
    "resolve_env",
]

Values = dict[str, str]
"""Reference as the spec writes it (`host:NAME`) → value."""


def env_references(job: Job) -> list[EnvRef]:
    """Return every reference to a variable in a job and its model servers."""
    deployments = [job.deployment, *job.auxiliary.values()]
    servers = [deployment.env_vars for deployment in deployments if isinstance(deployment, ServedDeployment)]
    return [reference for env in (job.env, *servers) for reference in env.values()]


def read_host_variables(references: Iterable[EnvRef], environ: Mapping[str, str]) -> Values:
    """Read the variables that only the submitter has: every `host:NAME`, and every `runtime:NAME` that is set.

    Raises:
        SecretError: some are not set; the message names all of them.
    """
    references = list(references)
    names = host_names(references)
    missing = [name for name in names if name not in environ]
    if missing:
        msg = f"{'variable' if len(missing) == 1 else 'variables'} {', '.join(missing)} not set"
        raise SecretError(msg, hint="the spec refers to it with host:NAME; set it where nel-action runs")
    # NOTE: this is the machine that runs the job as well; the supervisor does not inherit these variables.
    runtime = [name for name in runtime_names(references) if name in environ]
    return {str(EnvRef.host(name)): environ[name] for name in names} | {
        str(EnvRef.runtime(name)): environ[name] for name in runtime
    }


def read_values(attempt: AttemptDir) -> Values:
    """Return the values that the submitter stored for an attempt; empty once they have been deleted."""
    try:
        values: Values = json.loads(attempt.secrets.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return values


def resolve_env(env: Mapping[str, EnvRef], values: Values, environ: Mapping[str, str]) -> dict[str, str]:
    """Replace references to variables by their values.

    Args:
        env: variable → reference.
        values: values that the submitter stored, for `host:` references.
        environ: environment of this process, for `runtime:` references.

    Raises:
        SecretError: a value is missing.
    """
    return {name: _value(reference, values, environ) for name, reference in env.items()}


def _value(reference: EnvRef, values: Values, environ: Mapping[str, str]) -> str:
    match reference.source:
        case EnvSource.LITERAL:
            return reference.value
        case EnvSource.HOST:
            value = values.get(str(reference))
        case EnvSource.RUNTIME:
            value = values.get(str(reference), environ.get(reference.value))
    if value is None:
        msg = f"variable {reference.value} has no value where the job runs ({reference})"
        raise SecretError(msg)
    return value


def known_secrets(attempt: AttemptDir, record: JobRecord | None, environ: Mapping[str, str]) -> list[str]:
    """Return the values that must be redacted from an attempt's logs.

    Args:
        attempt: the attempt; the values that its submitter stored are included.
        record: its record, whose `runtime:` variables are included; None if it is damaged.
        environ: environment of this process.
    """
    references = env_references(record.job) if record is not None else []
    runtime = [environ[name] for name in runtime_names(references) if name in environ]
    return [*read_values(attempt).values(), *runtime]


def redact_file(path: Path, redact: Callable[[str], str]) -> None:
    """Redact a log file permanently; the file is replaced atomically."""
    if not path.exists() or not _needs_redaction(path, redact):
        return
    partial = path.with_name(f".{path.name}.masked")
    with (
        path.open(encoding="utf-8", errors="surrogateescape", newline="") as source,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target,
    ):
        target.writelines(redact(line) for line in source)
        target.flush()
        os.fsync(target.fileno())
    partial.replace(path)


def _needs_redaction(path: Path, redact: Callable[[str], str]) -> bool:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        return any(redact(line) != line for line in lines)
