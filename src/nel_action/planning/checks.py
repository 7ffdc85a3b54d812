"""Checks of a spec against the catalog and the file system, with source positions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nel_action.catalog.lookup import CatalogTask, relatives
from nel_action.errors import Location, Problem
from nel_action.model.file_names import MAX_FILE_NAME, file_name
from nel_action.model.task import HarnessTask
from nel_action.planning.task_resolution import Locate
from nel_action.spec.auxiliary import AuxiliaryKeys
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

__all__ = [
    "check_auxiliary",
    "check_endpoint_type",
    "check_files",
    "check_gateway",
    "check_name",
    "check_targets",
    "check_trust",
    "no_environment",
]

UNSAFE: Final = {
    "model_id": re.compile(r"""[\s\x00-\x1f\x7f;|&$`<>\\'"{}]"""),
    "url": re.compile(r"""[\s\x00-\x1f\x7f;|$`<>\\'"{}]"""),
}
"""Characters that a shell interprets: the command templates of containers contain both values without quotes."""
WITHOUT_AUXILIARY: Final = ("lepton",)
"""Built-in executors that start no auxiliary servers."""
AUXILIARY_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
PREFIX: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED_PREFIXES: Final = ("SLURM", "PRIMARY", "MODEL", "SERVER", "NEL")
"""Prefixes of environment variables with another meaning."""


def check_targets(spec: Spec, targets: Mapping[str, Target], locate: Locate) -> Iterator[Problem]:
    """Yield missing or contradictory keys of targets.

    Args:
        spec: the spec.
        targets: the targets by label, completed from the deployment.
        locate: maps a key to its source position.
    """
    served = not isinstance(spec.deployment, NoDeployment)
    if spec.targets and spec.target.model_fields_set:
        yield Problem("give either target or targets, not both", locate(("targets",)))
    if served and len(spec.targets) > 1:
        yield Problem("a deployment serves one model, but targets names several", locate(("targets",)))
    for label, target in targets.items():
        path = ("targets", label, "api_endpoint") if spec.targets else ("target", "api_endpoint")
        name = ".".join(path)
        if not target.api_endpoint.model_id:
            yield Problem(f"{name}.model_id is missing: the model's name at the endpoint", locate(path))
        for key in ("model_id", "url"):
            value = getattr(target.api_endpoint, key) or ""
            if (match := UNSAFE[key].search(value)) is not None:
                hint = "the programs that run benchmarks may pass it through a shell; use another name or address"
                yield Problem(f"{name}.{key}: {value!r} contains {match[0]!r}", locate((*path, key)), hint)
        if not served and not target.api_endpoint.url:
            hint = "give the full URL of the route (https://host/v1/chat/completions), or a deployment"
            yield Problem(f"{name}.url is missing", locate(path), hint)


def check_auxiliary(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Yield problems of auxiliary servers: unsupported executor, invalid names, ambiguous variables, node counts.

    Args:
        spec: the spec.
        locate: maps a key to its source position.
    """
    servers = {
        name: deployment
        for name, deployment in spec.auxiliary_deployments.items()
        if isinstance(deployment, AuxiliaryKeys)
    }
    if servers and spec.execution.type in WITHOUT_AUXILIARY:
        hint = "use Slurm or local execution, or serve it yourself and give its URL to the task"
        message = f"execution {spec.execution.type} starts no auxiliary servers"
        yield Problem(message, locate(("auxiliary_deployments",)), hint)
    names: dict[str, str] = {}
    for name, server in servers.items():
        location = locate(("auxiliary_deployments", name))
        prefix = server.env_prefix or name.upper()
        if not AUXILIARY_NAME.fullmatch(name):
            yield Problem(f"invalid name of a server: '{name}'", location, "use letters, digits, - and _")
        elif not PREFIX.fullmatch(prefix) or prefix in RESERVED_PREFIXES:
            hint = "set another prefix, for example env_prefix: JUDGE2"
            yield Problem(f"{prefix} cannot be the prefix of {name}'s variables", location, hint)
        elif prefix in names:
            hint = "set another env_prefix for one of them"
            yield Problem(f"the variables of {name} and {names[prefix]} have the same prefix {prefix}", location, hint)
        if server.num_nodes % server.num_instances:
            message = f"{server.num_nodes} nodes cannot be divided among {server.num_instances} instances"
            yield Problem(message, location, "num_instances must divide num_nodes")
        names[prefix] = name


def check_files(spec: Spec, index: int, base_dir: Path, locate: Locate) -> Iterator[Problem]:
    """Yield files and directories that a task names but that do not exist.

    Args:
        spec: the spec.
        index: of the task.
        base_dir: directory to which the paths are relative.
        locate: maps a key to its source position.
    """
    task = spec.evaluation.tasks[index]
    for name, path, exists in (
        ("task_dir", task.task_dir, Path.is_dir),
        ("dataset_dir", task.dataset_dir, Path.is_dir),
        ("requirements", task.requirements, Path.is_file),
    ):
        if path and not exists(base_dir / path):
            kind = "file" if name == "requirements" else "folder"
            yield Problem(f"{name}: no {kind} {path} in {base_dir}", locate(("evaluation", "tasks", index, name)))


def check_gateway(spec: Spec, index: int, task: HarnessTask, target: Target, locate: Locate) -> Iterator[Problem]:
    """Yield settings of a task that would bypass the gateway, or that need the target's key in the harness.

    Args:
        spec: the spec.
        index: of the task.
        task: the task with its merged `nemo_evaluator_config`.
        target: the model under test.
        locate: maps a key to its source position.
    """
    path = ("evaluation", "tasks", index)
    endpoint = (task.config.get("target") or {}).get("api_endpoint") or {}
    for name in ("url", "api_key_name"):
        if name in endpoint:
            own = (spec.evaluation.tasks[index].nemo_evaluator_config.get("target") or {}).get("api_endpoint") or {}
            section = (*path, "nemo_evaluator_config") if name in own else ("evaluation", "nemo_evaluator_config")
            message = f"nemo_evaluator_config.target.api_endpoint.{name} would bypass the gateway"
            hint = f"set target.api_endpoint.{name} instead, or gateway: false for this task"
            yield Problem(f"task {task.display}: {message}", locate((*section, "target", "api_endpoint", name)), hint)
    key = target.api_endpoint.api_key_name
    if key and any(_contains(value, key) for value in (task.params.extra, _without_target(task.config))):
        message = f"task {task.display}: its parameters name the variable {key}, in which the gateway passes a token"
        hint = f"pass the key under another name (env_vars: {{JUDGE_API_KEY: host:{key}}}), or set gateway: false"
        yield Problem(message, locate((*path, "name")), hint)


def _without_target(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != "target"}


def _contains(value: Any, text: str) -> bool:  # noqa: ANN401 any YAML value
    """Return whether a nested value contains a string equal to `text`."""
    if isinstance(value, Mapping):
        return any(_contains(item, text) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_contains(item, text) for item in value)
    return bool(value == text)


def check_name(name: str, location: Location | None) -> Iterator[Problem]:
    """Yield a problem if a task's name cannot be a file name.

    Args:
        name: of the task.
        location: source position of the name.
    """
    if not name.strip() or any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        yield Problem(f"the task name {name!r} is empty or contains control characters", location, "use another name")
    elif len(file_name(name)) > MAX_FILE_NAME:
        text = f"the task name {name[:40]!r}… has {len(name)} characters, as a file name {len(file_name(name))}"
        yield Problem(text, location, f"use a name whose file name has at most {MAX_FILE_NAME} characters")


def check_trust(spec: Spec, index: int, locate: Locate) -> Iterator[Problem]:
    """Yield shell commands of a task that are not executed without `execution.trust_commands`.

    Args:
        spec: the spec.
        index: of the task.
        locate: maps a key to its source position.
    """
    if spec.execution.trust_commands:
        return
    path = ("evaluation", "tasks", index)
    for section, section_path in ((spec.evaluation.tasks[index], path), (spec.evaluation, path[:1])):
        for name in ("pre_cmd", "post_cmd"):
            if getattr(section, name):
                message = f"{name} is shell text, which is executed only if it is trusted"
                hint = "set execution.trust_commands: true if the spec's authors may execute shell commands here"
                yield Problem(message, locate((*section_path, name)), hint)


def check_endpoint_type(entry: CatalogTask | None, endpoint_type: str, location: Location | None) -> Iterator[Problem]:
    """Yield a problem if a benchmark does not support the target's endpoint type.

    Args:
        entry: the benchmark; None if it is not in the catalog.
        endpoint_type: of the target.
        location: source position of the task.
    """
    if entry and endpoint_type not in entry.endpoint_types:
        supported = ", ".join(entry.endpoint_types)
        others = ", ".join(task.full_name for task in relatives(entry, endpoint_type)[:3])
        hint = f"for {endpoint_type}: {others}" if others else None
        message = f"{entry.name} requires a {supported} endpoint, but this target is {endpoint_type}"
        yield Problem(message, location, hint)


def no_environment(name: str, harness: str, location: Location | None, *, containers: bool) -> Problem:
    """Return the problem that neither an image nor requirements are known for a task's harness.

    Args:
        name: of the task.
        harness: its harness.
        location: source position of the task.
        containers: whether harnesses run in containers.
    """
    if containers:
        hint = "set an image with container:, or set execution.runtime: process"
        return Problem(f"{name}: no image is known for the harness '{harness}'", location, hint)
    hint = "set execution.runtime: docker, or hashed requirements of the harness with requirements:"
    return Problem(f"{name} is available in a container only", location, hint)
