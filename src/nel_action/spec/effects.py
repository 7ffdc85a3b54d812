"""Keys without effect: where the chosen executor, runtime or model server does not use a key, it is an error.

A key that configurations of NeMo Evaluator Launcher may carry is a warning instead. Default values, and those of
packaged groups, are not reported. Executors and servers of plug-ins validate their own settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from pydantic import BaseModel

from nel_action.errors import Location, Problem
from nel_action.spec.defaults import GROUPS
from nel_action.spec.deployment import PluginDeployment, ServedDeployment
from nel_action.spec.model import EXECUTOR_TYPES, Spec
from nel_action.spec.nested import MISSING, Loc, get, leaves
from nel_action.spec.source_positions import dotted, read_group

__all__ = ["CARRIED", "CONDITIONS", "EFFECTS", "check_effects", "referenced_keys"]

Condition = Callable[[Spec, Loc], bool]

COMMAND_KEYS: Final = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "data_parallel_size_local",
    "gpu_memory_utilization",
    "trust_remote_code",
    "distributed_executor_backend",
    "extra_args",
    "context_size",
    "slots",
    "threads",
)
"""Keys of servers that become arguments of the generated command line."""


def _server(spec: Spec, loc: Loc) -> ServedDeployment | None:
    """Return the model server that a key belongs to."""
    server: object = spec.deployment
    if loc[0] == "auxiliary_deployments":
        server = spec.auxiliary_deployments.get(str(loc[1]))
    elif loc[:3] == ("execution", "mounts", "auxiliary"):
        server = spec.auxiliary_deployments.get(str(loc[3]))
    return server if isinstance(server, ServedDeployment) else None


def _servers(spec: Spec) -> list[ServedDeployment]:
    servers = [spec.deployment, *spec.auxiliary_deployments.values()]
    return [server for server in servers if isinstance(server, ServedDeployment)]


def _in_container(spec: Spec, server: ServedDeployment | None) -> bool:
    """Whether a model server runs in a container; without one, False."""
    runtime = getattr(spec.execution, "runtime", "docker")
    if spec.execution.type == "local":
        runtime = (server.runtime if server else None) or runtime
    return server is not None and runtime not in {"process", "none"}


def _harness_in_container(spec: Spec) -> bool:
    return getattr(spec.execution, "runtime", "docker") not in {"process", "none"}


def _is_executor(name: str) -> Condition:
    return lambda spec, _: spec.execution.type == name


CONDITIONS: Final[Mapping[str, tuple[Condition, str, str]]] = {
    "local": (_is_executor("local"), "only the local executor uses it", "remove it"),
    "slurm": (_is_executor("slurm"), "only Slurm uses it", "remove it"),
    "lepton": (_is_executor("lepton"), "only Lepton uses it", "remove it"),
    "not lepton": (
        lambda spec, _: spec.execution.type != "lepton",
        "Lepton does not use it",
        "remove it, or see docs/executors/lepton.md for the key of Lepton",
    ),
    "server": (lambda spec, _: bool(_servers(spec)), "no model is served", "remove it, or add a deployment"),
    "several servers": (
        lambda spec, _: (
            getattr(spec.execution, "num_instances", 1) > 1
            or any(getattr(server, "num_instances", 1) > 1 for server in _servers(spec))
        ),
        "one instance of the server needs no balancer",
        "remove it, or set num_instances",
    ),
    "container": (
        lambda spec, _: _harness_in_container(spec) or any(_in_container(spec, item) for item in _servers(spec)),
        "nothing runs in a container",
        "remove it, or set execution.runtime: docker",
    ),
    "harness in container": (
        lambda spec, _: _harness_in_container(spec),
        "it applies to containers, and the harness is a process",
        "remove it, or run the harness in a container (execution.runtime)",
    ),
    "harness as process": (
        lambda spec, _: not _harness_in_container(spec),
        "the harness runs in a container, which has its own packages",
        "remove it, or run the harness as a process (execution.runtime)",
    ),
    "server in container": (
        lambda spec, _: any(_in_container(spec, server) for server in _servers(spec)),
        "no model is served in a container",
        "remove it; a process sees all GPUs unless CUDA_VISIBLE_DEVICES is set",
    ),
    "this server in container": (
        lambda spec, loc: _in_container(spec, _server(spec, loc)),
        "there is no such model server in a container",
        "remove it, or serve that model in a container",
    ),
    "own timeout": (
        lambda spec, _: "timeout" not in spec.execution.model_fields_set,
        "execution.timeout takes precedence",
        "set one of them",
    ),
    "data set": (
        lambda spec, loc: spec.evaluation.tasks[int(loc[2])].dataset_dir is not None,
        "the task has no dataset_dir",
        "remove it, or add dataset_dir",
    ),
    "generated command": (
        lambda spec, loc: (server := _server(spec, loc)) is None or server.command is None,
        "deployment.command replaces the command line that contains it",
        "remove it, or refer to it in the command: ${deployment.KEY}",
    ),
}
"""Name → whether a key has an effect, why it has none, and the fix."""

_EVERY: Final[tuple[str, ...]] = ()

EFFECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": _EVERY,
    "target": _EVERY,
    "targets": _EVERY,
    "env_vars": _EVERY,
    "gateway": _EVERY,
    "prices": _EVERY,
    "budget": _EVERY,
    "gate": _EVERY,
    "export": _EVERY,
    "evaluation": _EVERY,
    "evaluation.tasks.*.container": ("harness in container",),
    "evaluation.tasks.*.requirements": ("harness as process",),
    "evaluation.tasks.*.dataset_mount_path": ("data set", "harness in container"),
    "deployment": _EVERY,
    "deployment.runtime": ("local",),
    "deployment.image": ("this server in container",),
    "deployment.cache_path": ("this server in container", "not lepton"),
    "deployment.lepton_config": ("lepton",),
    **{f"deployment.{key}": ("generated command",) for key in COMMAND_KEYS},
    "auxiliary_deployments.*": _EVERY,
    "auxiliary_deployments.*.runtime": ("local",),
    "auxiliary_deployments.*.image": ("this server in container",),
    "auxiliary_deployments.*.cache_path": ("this server in container",),
    "auxiliary_deployments.*.lepton_config": ("lepton",),
    **{f"auxiliary_deployments.*.{key}": ("generated command",) for key in COMMAND_KEYS},
    "execution": _EVERY,
    "execution.parallelism": ("not lepton",),
    "execution.endpoint_readiness_timeout": ("server", "not lepton"),
    "execution.network": ("container",),
    "execution.gpus": ("server in container",),
    "execution.memory": ("harness in container",),
    "execution.cpus": ("harness in container",),
    "execution.shm_size": ("container",),
    "execution.pull": ("container",),
    "execution.extra_docker_args": ("container",),
    "execution.mounts": ("container",),
    "execution.mounts.mount_home": ("slurm", "container"),
    "execution.mounts.evaluation": ("harness in container",),
    "execution.mounts.deployment": ("this server in container",),
    "execution.mounts.auxiliary.*": ("this server in container",),
    "execution.runtime_args": ("container",),
    "execution.proxy": ("several servers",),
    "execution.num_instances": ("server",),
    "execution.deployment.n_tasks": ("server",),
    "execution.evaluation_tasks.timeout": ("own timeout",),
}
"""Key → conditions that must hold for it to have an effect. A row also covers the keys below it, unless a longer row
names them; the table is complete, and a test fails for a key without a row."""

CARRIED: Final[frozenset[str]] = frozenset({
    "deployment.lepton_config",
    "auxiliary_deployments.*.lepton_config",
    "execution.endpoint_readiness_timeout",
    "execution.mounts.deployment",
    "execution.num_instances",
    "execution.deployment.n_tasks",
    "execution.proxy",
    *(f"deployment.{key}" for key in COMMAND_KEYS),
    *(f"auxiliary_deployments.*.{key}" for key in COMMAND_KEYS),
})  # fmt: skip
"""Keys that configurations of the launcher may carry without effect."""

_PARTS: Final = sorted(((row, row.split(".")) for row in EFFECTS), key=lambda item: -len(item[1]))
"""The rows and their parts, the longest first."""

_REFERENCE: Final = re.compile(r"\b(?:deployment|auxiliary_deployments\.\w+)\.(\w+)|\$\{\.+(\w+)")
"""A key of a server in an interpolation, absolute or relative."""


def referenced_keys(data: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of servers that interpolations of a composed spec refer to."""
    texts = (value for _, value in leaves(data) if isinstance(value, str) and "${" in value)
    return frozenset(name for text in texts for groups in _REFERENCE.findall(text) for name in groups if name)


def check_effects(
    spec: Spec, data: Mapping[str, Any], locate: Callable[[Loc], Location], referenced: AbstractSet[str] = frozenset()
) -> tuple[list[Problem], list[Problem]]:
    """Return the keys without effect, with their source positions.

    Args:
        spec: the validated spec.
        data: the spec as plain data, which contains the keys that were written.
        locate: maps a key to its source position.
        referenced: keys of servers that other values refer to.

    Returns:
        Errors, and warnings.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    if spec.execution.type not in EXECUTOR_TYPES:
        return errors, warnings
    for loc in _written(data, locate):
        pattern = row_of(loc)
        if loc[-1] in referenced or _is_default(spec, loc) or isinstance(_server(spec, loc), PluginDeployment):
            continue
        for holds, reason, hint in (CONDITIONS[name] for name in EFFECTS.get(pattern, ())):
            if not holds(spec, loc):
                problem = Problem(f"{dotted(loc)} has no effect: {reason}", locate(loc), hint)
                (warnings if pattern in CARRIED else errors).append(problem)
                break
    return errors, warnings


def _written(data: Mapping[str, Any], locate: Callable[[Loc], Location]) -> Iterator[Loc]:
    """Yield the keys with a row of conditions that the user wrote."""
    seen: set[Loc] = set()
    for loc, value in leaves(data):
        pattern = row_of(loc)
        # NOTE: the key of the row, also where the value is a mapping or a list.
        key = loc[: len(pattern.split("."))]
        if value in (None, MISSING) or key in seen or not EFFECTS.get(pattern):
            continue
        seen.add(key)
        # NOTE: a resolved spec contains the values of its groups.
        if not locate(key).file.is_relative_to(GROUPS) and get(data, key) != _packaged_value(data, key):
            yield key


def _packaged_value(data: Mapping[str, Any], loc: Loc) -> object:
    """Return the value of a key in the packaged group of its section; None if there is none."""
    section = loc[:2] if loc[0] == "auxiliary_deployments" else loc[:1]
    group = GROUPS / str(section[0]) / f"{get(data, (*section, 'type'))}.yaml"
    return get(read_group(group).data, loc[len(section) :]) if group.is_file() else None


def row_of(loc: Loc) -> str:
    """Return the row of a key: the longest one that covers it; empty if there is none."""
    for pattern, parts in _PARTS:
        if len(parts) <= len(loc) and all(part in ("*", str(name)) for part, name in zip(parts, loc, strict=False)):
            return pattern
    return ""


def _is_default(spec: Spec, loc: Loc) -> bool:
    """Whether the value is the default, which has no effect anywhere."""
    value: Any = spec
    for depth, part in enumerate(loc):
        if isinstance(value, BaseModel):
            field = type(value).model_fields.get(str(part))
            value = getattr(value, str(part), None)
            if depth == len(loc) - 1:
                return (
                    field is not None
                    and not field.is_required()
                    and value == field.get_default(call_default_factory=True)
                )
        elif isinstance(value, Mapping):
            value = value.get(part)
        else:
            value = value[int(part)]
    return not value
