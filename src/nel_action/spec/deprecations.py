"""Keys that versions of NeMo Evaluator Launcher renamed; accepted under their old names, with a warning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nel_action.errors import Problem
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.nested import Loc, get, merge, put, remove
from nel_action.spec.source_positions import Sources, dotted

__all__ = ["MOVES", "rename_keys", "wrap_task_list"]

MOVES: tuple[tuple[str, str], ...] = (
    ("evaluation.overrides", "evaluation.nemo_evaluator_config"),
    ("evaluation.tasks.*.overrides", "evaluation.tasks.*.nemo_evaluator_config"),
    ("evaluation.tasks.*.config", "evaluation.tasks.*.nemo_evaluator_config"),
    ("evaluation.tasks.*.target", "evaluation.tasks.*.nemo_evaluator_config.target"),
    ("evaluation.nemo_evaluator_config.config.target", "evaluation.nemo_evaluator_config.target"),
    ("evaluation.nemo_evaluator_config.config.extra", "evaluation.nemo_evaluator_config.config.params.extra"),
    ("evaluation.tasks.*.nemo_evaluator_config.config.target", "evaluation.tasks.*.nemo_evaluator_config.target"),
    (
        "evaluation.tasks.*.nemo_evaluator_config.config.extra",
        "evaluation.tasks.*.nemo_evaluator_config.config.params.extra",
    ),
    (
        "evaluation.nemo_evaluator_config.config.params.max_tokens",
        "evaluation.nemo_evaluator_config.config.params.max_new_tokens",
    ),
    (
        "evaluation.tasks.*.nemo_evaluator_config.config.params.max_tokens",
        "evaluation.tasks.*.nemo_evaluator_config.config.params.max_new_tokens",
    ),
    ("evaluation.tasks.*.nemo_evaluator_config.env_vars", "evaluation.tasks.*.env_vars"),
    ("execution.env_vars.deployment", "deployment.env_vars"),
    ("execution.env_vars.evaluation", "evaluation.env_vars"),
    ("execution.env_vars.export", "env_vars"),
    ("execution.auto_export.configs", "export"),
    ("export.*.log_logs", "export.*.copy_logs"),
    ("export.*.log_artifacts", "export.*.copy_artifacts"),
)
"""Old and new path; `*` matches any task or exporter. A value at the new path takes precedence."""

_DROPPED: dict[str, str] = {
    "user_config_path": "the path of the config is not needed",
    "deployment.multiple_instances": "execution.num_instances determines it",
    "execution.auto_export.launcher_install_cmd": "nel-action exports from where it runs",
    "execution.auto_export.export_image": "nel-action exports from where it runs",
    "execution.auto_export.export_mounts": "nel-action exports from where it runs",
}
"""Keys that have no effect, and the reason."""

_VARIABLE = re.compile(r"\$\{oc\.env:(?P<name>[A-Za-z_]\w*)\}|\$?(?P<bare>[A-Z_][A-Z0-9_]*)")


@dataclass
class _Renaming:
    data: dict[str, Any]
    sources: Sources
    warnings: list[Problem] = field(default_factory=list)

    def warn(self, loc: Loc, message: str) -> None:
        self.warnings.append(Problem(f"'{dotted(loc)}' {message}", self.sources.locate(loc)))


def wrap_task_list(data: dict[str, Any], sources: Sources) -> list[Problem]:
    """Move a list of tasks directly under `evaluation` to `evaluation.tasks`.

    Args:
        data: the composed spec, modified in place.
        sources: its files and overrides; receives the moved keys.

    Returns:
        A warning if there is such a list.
    """
    tasks = data.get("evaluation")
    if not isinstance(tasks, list):
        return []
    location = sources.locate(("evaluation",))
    data["evaluation"] = {"tasks": tasks}
    sources.moved.append((("evaluation", "tasks"), ("evaluation",)))
    return [Problem("'evaluation' is a list of tasks; they belong below 'evaluation.tasks'", location)]


def rename_keys(data: dict[str, Any], sources: Sources) -> list[Problem]:
    """Move the values of old keys to the new keys.

    Args:
        data: the composed spec, modified in place.
        sources: its files and overrides; receives the renamed keys.

    Returns:
        A warning for each old key.
    """
    state = _Renaming(data, sources)
    for old, new in MOVES:
        for loc, wildcards in list(_matches(data, tuple(old.split(".")))):
            _move(state, loc, _fill(new, wildcards))
    for dropped, reason in _DROPPED.items():
        loc = tuple(dropped.split("."))
        if _contains(data, loc):
            state.warn(loc, f"is ignored: {reason}")
            remove(data, loc)
    _move_remaining_variables(state)
    _drop_server_settings(state)
    return state.warnings


def _move_remaining_variables(state: _Renaming) -> None:
    """Move the remaining `execution.env_vars`, those of the local executor, to `env_vars`."""
    remaining = get(state.data, ("execution", "env_vars"))
    if isinstance(remaining, dict) and remaining:
        _move(state, ("execution", "env_vars"), ("env_vars",))
    elif remaining == {}:
        remove(state.data, ("execution", "env_vars"))


def _drop_server_settings(state: _Renaming) -> None:
    """Remove the settings of a server if the file chooses `deployment: none`, as the launcher ignores them.

    Without a choice in the file, the user may have forgotten it, so validation reports the settings.
    """
    deployment = state.data.get("deployment")
    chosen = {"deployment": "none"} in (state.sources.user.data.get("defaults") or ())
    if not chosen or not isinstance(deployment, dict) or deployment.get("type") != "none":
        return
    for name in [name for name in deployment if name in ServedDeployment.model_fields and name != "type"]:
        state.warn(("deployment", name), "is ignored: deployment.type is none, so no server is started")
        remove(state.data, ("deployment", name))


def _matches(data: Any, pattern: tuple[str, ...], loc: Loc = ()) -> Iterator[tuple[Loc, Loc]]:  # noqa: ANN401
    """Yield each location that matches a pattern, and the parts that its wildcards match."""
    if not pattern:
        yield loc, ()
        return
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        keys: list[str | int] = list(data) if isinstance(data, dict) else []
        keys = list(range(len(data))) if isinstance(data, list) else keys
        for key in keys:
            for match, wildcards in _matches(data[key], rest, (*loc, key)):
                yield match, (key, *wildcards)
    elif isinstance(data, dict) and first in data:
        yield from _matches(data[first], rest, (*loc, first))


def _fill(pattern: str, wildcards: Loc) -> Loc:
    remaining = iter(wildcards)
    return tuple(next(remaining) if part == "*" else part for part in pattern.split("."))


def _contains(data: dict[str, Any], loc: Loc) -> bool:
    parent = get(data, loc[:-1]) if len(loc) > 1 else data
    return isinstance(parent, dict) and loc[-1] in parent


def _move(state: _Renaming, old: Loc, new: Loc) -> None:
    state.warn(old, f"is now '{dotted(new)}'")
    value = remove(state.data, old)
    if old[:2] == ("execution", "env_vars") and isinstance(value, dict):
        value = {name: _to_reference(inner) for name, inner in value.items()}
    moved = {(): value} if not isinstance(value, dict) else {tuple(str(key).split(".")): v for key, v in value.items()}
    for parts, inner in moved.items():
        written = (*old, ".".join(parts)) if parts else old
        target = (*new, *parts)
        current = get(state.data, target)
        if isinstance(current, dict) and isinstance(inner, dict):
            put(state.data, target, merge(inner, current))
        elif not _contains(state.data, target):
            put(state.data, target, inner)
        state.sources.moved.append((target, written))


def _to_reference(value: Any) -> Any:  # noqa: ANN401 - what YAML gave
    """Convert a value to a reference: the name of a variable to `host:NAME`, anything else to `lit:…`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    variable = _VARIABLE.fullmatch(str(value))
    if variable:
        return f"host:{variable['name'] or variable['bare']}"
    is_reference = str(value).startswith(("host:", "lit:", "runtime:")) or "${" in str(value)
    return value if is_reference else f"lit:{value}"
