"""Values of variables on their way to the cluster: as shell functions in one file that only its owner reads.

Functions, so that the batch shell itself never has the values in its environment: what it runs besides the steps,
above all `sbatch`, would hand them on to the queue.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from nel_action.errors import SecretError
from nel_action.executors.slurm.shell import function
from nel_action.executors.slurm.slurm_job import BoundJob
from nel_action.model.env_ref import EnvRef, EnvSource, host_names

__all__ = ["secrets_text", "values"]


def values(references: Mapping[str, EnvRef], environ: Mapping[str, str]) -> dict[str, str]:
    """Look up what the caller must know: every `host:NAME`, and `lit:VALUE` as it stands.

    Raises:
        SecretError: variables that are not set, by name.
    """
    if missing := [name for name in host_names(references.values()) if name not in environ]:
        msg = f"{'variable' if len(missing) == 1 else 'variables'} {', '.join(missing)} not set"
        raise SecretError(msg, hint="the spec asks for it with host:NAME; set it where nel-action runs")
    found = {}
    for name, reference in references.items():
        if reference.source is not EnvSource.RUNTIME:
            found[name] = environ[reference.value] if reference.source is EnvSource.HOST else reference.value
    return found


def secrets_text(bound: BoundJob, environ: Mapping[str, str]) -> str:
    """Return the whole of `.secrets.env`.

    Raises:
        SecretError: a variable that the job needs has no value here.
    """
    all_of_them = {"evaluation": bound.job.env, **{one.label: one.deployment.env_vars for one in bound.services}}
    for holder in bound.command.secret_env.values():
        if holder not in bound.job.env:
            msg = f"{bound.job.name} needs the variable {holder}, and the spec does not pass it on"
            raise SecretError(msg, hint=f"add {holder}: host:{holder} to env_vars")
    return "".join(_function(f"secrets_of_{name}", found, environ) for name, found in all_of_them.items())


def _function(name: str, references: Mapping[str, EnvRef], environ: Mapping[str, str]) -> str:
    lines = [f"export {variable}={shlex.quote(value)}" for variable, value in values(references, environ).items()]
    # NOTE: what stands in the spec as it is (`lit:3600`) is no secret, and logs are easier to read with it
    hidden = " ".join(variable for variable, reference in references.items() if reference.source is EnvSource.HOST)
    return _whole(name, [*lines, f'export NEL_SECRET_NAMES="{hidden}"'])


def _whole(name: str, lines: Iterable[str]) -> str:
    # NOTE: not indented: a value may have several lines, and none of them may change
    body = "\n".join(lines)
    return f"{name}() {{\n{body}\n}}\n" if body else function(name, [])
