"""Keys that NeMo Evaluator Launcher renamed across its versions: accepted where they were, each with a warning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nel_action.errors import Problem
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.nested import Loc, get, merge, put, remove
from nel_action.spec.source_positions import Sources, dotted

__all__ = ["MOVES", "rename"]

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
"""Old place and new; `*` is any task or exporter. What stands at the new place wins."""

_DROPPED: dict[str, str] = {
    "user_config_path": "where the file was is not needed",
    "deployment.multiple_instances": "execution.num_instances says it",
    "execution.auto_export.launcher_install_cmd": "nel-action exports from where it runs",
    "execution.auto_export.export_image": "nel-action exports from where it runs",
    "execution.auto_export.export_mounts": "nel-action exports from where it runs",
}
"""Keys without a meaning here, and why."""

_VARIABLE = re.compile(r"\$\{oc\.env:(?P<name>[A-Za-z_]\w*)\}|\$?(?P<bare>[A-Z_][A-Z0-9_]*)")


@dataclass
class _Renaming:
    data: dict[str, Any]
    sources: Sources
    warnings: list[Problem] = field(default_factory=list)

    def warn(self, loc: Loc, what: str) -> None:
        self.warnings.append(Problem(f"'{dotted(loc)}' {what}", self.sources.locate(loc)))


def rename(data: dict[str, Any], sources: Sources) -> list[Problem]:
    """Put what stands at an old place where it belongs now, in place; return a warning for each."""
    state = _Renaming(data, sources)
    for old, new in MOVES:
        for loc, parts in list(_matches(data, tuple(old.split(".")))):
            _move(state, loc, _fill(new, parts))
    for dropped, reason in _DROPPED.items():
        loc = tuple(dropped.split("."))
        if _holds(data, loc):
            state.warn(loc, f"is left out: {reason}")
            remove(data, loc)
    _spread_variables(state)
    _drop_server(state)
    return state.warnings


def _spread_variables(state: _Renaming) -> None:
    """Give what is left in `execution.env_vars` to everything: the local executor had its variables there."""
    left = get(state.data, ("execution", "env_vars"))
    if isinstance(left, dict) and left:
        _move(state, ("execution", "env_vars"), ("env_vars",))
    elif left == {}:
        remove(state.data, ("execution", "env_vars"))


def _drop_server(state: _Renaming) -> None:
    """Leave out a server's settings where `deployment: none` was chosen; the launcher passed them by.

    Where nothing was chosen, somebody may have forgotten to, and is told.
    """
    deployment = state.data.get("deployment")
    chosen = {"deployment": "none"} in (state.sources.user.data.get("defaults") or ())
    if not chosen or not isinstance(deployment, dict) or deployment.get("type") != "none":
        return
    for name in [name for name in deployment if name in ServedDeployment.model_fields and name != "type"]:
        state.warn(("deployment", name), "is left out: deployment.type is none, so no server is started")
        remove(state.data, ("deployment", name))


def _matches(data: Any, pattern: tuple[str, ...], loc: Loc = ()) -> Iterator[tuple[Loc, Loc]]:  # noqa: ANN401
    """Yield each place that fits a pattern, with what stands for its stars."""
    if not pattern:
        yield loc, ()
        return
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        keys: list[str | int] = list(data) if isinstance(data, dict) else []
        keys = list(range(len(data))) if isinstance(data, list) else keys
        for key in keys:
            for place, stars in _matches(data[key], rest, (*loc, key)):
                yield place, (key, *stars)
    elif isinstance(data, dict) and first in data:
        yield from _matches(data[first], rest, (*loc, first))


def _fill(pattern: str, stars: Loc) -> Loc:
    left = iter(stars)
    return tuple(next(left) if part == "*" else part for part in pattern.split("."))


def _holds(data: dict[str, Any], loc: Loc) -> bool:
    holder = get(data, loc[:-1]) if len(loc) > 1 else data
    return isinstance(holder, dict) and loc[-1] in holder


def _move(state: _Renaming, old: Loc, new: Loc) -> None:
    state.warn(old, f"is now '{dotted(new)}'")
    value = remove(state.data, old)
    if old[:2] == ("execution", "env_vars") and isinstance(value, dict):
        value = {name: _as_reference(inner) for name, inner in value.items()}
    moved = {(): value} if not isinstance(value, dict) else {tuple(str(key).split(".")): v for key, v in value.items()}
    for parts, inner in moved.items():
        written = (*old, ".".join(parts)) if parts else old
        target = (*new, *parts)
        there = get(state.data, target)
        if isinstance(there, dict) and isinstance(inner, dict):
            put(state.data, target, merge(inner, there))
        elif not _holds(state.data, target):
            put(state.data, target, inner)
        state.sources.moved.append((target, written))


def _as_reference(value: Any) -> Any:  # noqa: ANN401 - what YAML gave
    """Write a value as `env_vars` are written now: a variable's name as `host:NAME`, anything else as `lit:…`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    named = _VARIABLE.fullmatch(str(value))
    if named:
        return f"host:{named['name'] or named['bare']}"
    known = str(value).startswith(("host:", "lit:", "runtime:")) or "${" in str(value)
    return value if known else f"lit:{value}"
