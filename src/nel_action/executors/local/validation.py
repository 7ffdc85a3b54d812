"""Mistakes of a spec that the local executor finds without an engine; each has the source position of its key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from nel_action.errors import Location, NelActionError, Problem
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.docker.isolation import opening_mount
from nel_action.executors.local.docker.options import parse_docker_args
from nel_action.planning.task_resolution import Locate
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.execution import LocalExecution
from nel_action.spec.model import Spec

__all__ = ["declared_mounts", "uses_containers", "validate"]

Key = tuple[str | int, ...]

SIZE: Final = re.compile(r"\d+(?:\.\d+)?\s*[bkmgt]?b?", re.IGNORECASE)
"""A size as the engine accepts it."""


def validate(spec: Spec, settings: LocalExecution, context: ExecutorContext, locate: Locate) -> list[Problem]:
    """Return the mistakes of a spec.

    Args:
        spec: the spec.
        settings: the spec's `execution`.
        context: this machine.
        locate: maps a key to its source position.
    """
    environ = {**context.environ, "NEL_ACTION_HOME": str(context.home)}
    try:
        problems = [*_check_options(settings, environ, locate(("execution", "extra_docker_args")))]
        problems += _check_sizes(settings, locate)
        problems += _check_mounts(spec, settings, context.base_dir, environ, locate)
    except NelActionError as error:
        return list(error.problems)
    return problems


def uses_containers(deployment: object, settings: LocalExecution) -> bool:
    """Whether a model server runs in a container."""
    return isinstance(deployment, ServedDeployment) and (deployment.runtime or settings.runtime) == "docker"


def _check_options(
    settings: LocalExecution, environ: Mapping[str, str], location: Location | None
) -> Iterator[Problem]:
    try:
        parse_docker_args(settings.extra_docker_args, environ)
    except NelActionError as error:
        yield from (Problem(problem.message, location, problem.hint) for problem in error.problems)


def _check_sizes(settings: LocalExecution, locate: Locate) -> Iterator[Problem]:
    for name in ("memory", "shm_size"):
        if (value := getattr(settings, name)) is not None and not SIZE.fullmatch(value):
            location = locate(("execution", name))
            yield Problem(f"execution.{name}: {value!r} is not a size", location, "write for example 512m or 8g")


def _check_mounts(
    spec: Spec, settings: LocalExecution, base_dir: Path, environ: Mapping[str, str], locate: Locate
) -> Iterator[Problem]:
    for key, source in _mounts(spec, settings):
        path = base_dir / source
        if (opening := opening_mount(str(path), environ)) is not None:
            message = f"{'.'.join(map(str, key))}: a mount of {source} would give the job {opening.reason}"
            yield Problem(message, locate(key), opening.hint)


def declared_mounts(settings: LocalExecution) -> Iterator[tuple[Key, str]]:
    """Yield key and path on this machine of each mount in `execution.mounts`."""
    mounts = settings.mounts
    roles: dict[Key, dict[str, str]] = {("deployment",): mounts.deployment, ("evaluation",): mounts.evaluation}
    roles |= {("auxiliary", name): binds for name, binds in mounts.auxiliary.items()}
    for role, binds in roles.items():
        yield from ((("execution", "mounts", *role, source), source) for source in binds)


def _mounts(spec: Spec, settings: LocalExecution) -> Iterator[tuple[Key, str]]:
    """Yield key and path on this machine of everything that containers of a spec mount."""
    yield from declared_mounts(settings)
    if settings.runtime == "docker":
        for index, task in enumerate(spec.evaluation.tasks):
            if task.dataset_dir:
                yield ("evaluation", "tasks", index, "dataset_dir"), task.dataset_dir
    servers: dict[Key, object] = {("deployment",): spec.deployment}
    servers |= {("auxiliary_deployments", name): item for name, item in spec.auxiliary_deployments.items()}
    for path, server in servers.items():
        if isinstance(server, ServedDeployment) and uses_containers(server, settings):
            for name in ("checkpoint_path", "cache_path"):
                if (value := getattr(server, name)) is not None:
                    yield (*path, name), value
