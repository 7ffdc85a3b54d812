"""Loading of a spec: read, compose, rename old keys, interpolate, validate; every problem has its source position."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nel_action.errors import Location, Problem, SpecError, UsageError
from nel_action.spec.composition import compose_document
from nel_action.spec.defaults import GROUPS, Entry, check_choices, read_defaults
from nel_action.spec.deprecations import rename_keys, wrap_task_list
from nel_action.spec.effects import check_effects, referenced_keys
from nel_action.spec.environment import check_environment
from nel_action.spec.interpolate import interpolate
from nel_action.spec.model import Spec
from nel_action.spec.nested import Loc, get, leaves, put, remove
from nel_action.spec.overrides import Override, apply_to_tasks, parse_overrides
from nel_action.spec.source_positions import Document, Sources, read_group
from nel_action.spec.validate import check_spec, missing_values, validate

__all__ = ["LoadedSpec", "load_spec"]


@dataclass(frozen=True)
class LoadedSpec:
    """A validated spec and its sources."""

    spec: Spec
    """The validated spec."""
    source: Path
    """The user's file, as it was named."""
    base_dir: Path
    """The absolute directory to which paths in the spec are relative."""
    resolved: dict[str, Any]
    """The composed spec as plain data, for `spec.yaml`; secrets by name. Loading it returns the same spec."""
    digest: str
    """SHA-256 of `resolved` as canonical JSON, hexadecimal."""
    warnings: tuple[Problem, ...]
    """Old notations that were accepted, with their replacements."""
    sources: Sources
    """The files and overrides of the spec."""

    def locate(self, loc: Sequence[str | int]) -> Location:
        """Return the source position of a key (`("evaluation", "tasks", 0, "name")`).

        Returns:
            File, line and column of the key or of its nearest parent; `-o …` for keys of the command line; the file of
            the group for keys of a group.
        """
        return self.sources.locate(loc)


def load_spec(
    path: Path | None = None,
    *,
    config_dir: Path | None = None,
    config_name: str | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> LoadedSpec:
    """Read, compose and validate a spec.

    Args:
        path: the file; or omit it and name a config.
        config_dir: directory of `config_name`; by default the current one, then that of the packaged configs.
        config_name: name of a config, with or without `.yaml`.
        overrides: as on the command line: `a.b=c`, `+a.b=c`, `++a.b=c`, `~a.b`, `group=option`,
            `evaluation.tasks.<name>.k=v`, `config.params.k=v`.
        environ: variables for `${oc.env:NAME}`.

    Raises:
        SpecError: the spec is invalid; the error lists all problems with their source positions.
        UsageError: no file is named, or two.

    Example:
        >>> loaded = load_spec(Path("evals/gate.yaml"), overrides=["execution.parallelism=2"])
        >>> loaded.spec.evaluation.tasks[0].name
        'ifeval'
    """
    source = _source_path(path, config_dir, config_name)
    document = Document.read(source)
    base = source.parent.absolute()
    entries = read_defaults(document, (base, GROUPS))
    parsed = parse_overrides(overrides)
    check_choices(entries, parsed, (base, GROUPS))
    for_tasks = [override for override in parsed if override.is_for_a_task]
    others = [override for override in parsed if not override.is_for_a_task]
    data, used = compose_document(document, entries, others)
    # NOTE: a copy without shared objects, so that a change in one place does not change an alias of it.
    data = json.loads(json.dumps(data))
    sources = _sources(document, used, others, entries)
    warnings = wrap_task_list(data, sources)
    sources.overrides += apply_to_tasks(data, for_tasks)
    resolved, spec, further = _finish(data, sources, environ)
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
    return LoadedSpec(
        spec=spec,
        source=source,
        base_dir=Path.cwd() if source.is_relative_to(GROUPS) else base,
        resolved=resolved,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        warnings=(*warnings, *further),
        sources=sources,
    )


def _source_path(path: Path | None, folder: Path | None, name: str | None) -> Path:
    """Return the path of the named file.

    Raises:
        UsageError: no file is named, or two.
    """
    if path is not None:
        if name is not None or folder is not None:
            msg = "both a file and a config name are given"
            raise UsageError(msg, hint="give either the file, or --config-dir and --config-name")
        return path
    if name is None:
        msg = "no spec is named"
        raise UsageError(msg, hint="give a file, or --config-name with --config-dir")
    file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    if folder is not None:
        return folder / file
    return next((parent / file for parent in (Path(), GROUPS) if (parent / file).is_file()), Path(file))


def _sources(
    document: Document, used: Sequence[Entry], overrides: Sequence[Override], entries: Sequence[Entry]
) -> Sources:
    groups = {entry.group for entry in entries}
    layers = [(entry.package, read_group(entry.file)) for entry in used if entry.file is not None]
    written = [(override.loc, override.written) for override in overrides if override.key not in groups]
    return Sources(document, layers, written, [])


def _finish(
    data: dict[str, Any], sources: Sources, environ: Mapping[str, str]
) -> tuple[dict[str, Any], Spec, list[Problem]]:
    """Rename old keys, interpolate and validate.

    Args:
        data: the composed spec; becomes the resolved spec.
        sources: its files and overrides.
        environ: variables for `${oc.env:NAME}`.

    Returns:
        The resolved spec, the validated spec, and warnings.

    Raises:
        SpecError: the spec is invalid.
    """
    warnings = rename_keys(data, sources)
    _disable_servers(data, sources)
    _drop_unused_commands(data, sources)
    problems, environment_warnings = check_environment(data, sources.locate)
    warnings += environment_warnings
    referenced = referenced_keys(data)
    unresolved = interpolate(data, environ, sources.locate)
    missing, missing_locs = missing_values(data, sources)
    _set_parallelism(data)
    reported = {loc for loc, value in leaves(data) if isinstance(value, str) and "${" in value} if unresolved else set()
    spec, invalid = validate(data, sources, missing_locs | reported)
    for group in (unresolved, missing, invalid):
        locations = {problem.location for problem in problems}
        problems += [problem for problem in group if problem.location not in locations]
    if spec is not None:
        problems += check_spec(spec, sources.locate)
        errors, ineffective = check_effects(spec, data, sources.locate, referenced)
        problems += errors
        warnings += ineffective
    if problems or spec is None:
        raise SpecError(sorted(dict.fromkeys(problems), key=_sort_key))
    return data, spec, warnings


def _sort_key(problem: Problem) -> tuple[str, int, int]:
    location = problem.location
    return (str(location.file), location.line or 0, location.column or 0) if location else ("", 0, 0)


def _disable_servers(data: dict[str, Any], sources: Sources) -> None:
    """Reduce servers of `type: none` to their type: `none` disables a server whose other keys may stay.

    An auxiliary server loses all its keys, as with the launcher. The model server loses those of its group only, since
    its own keys would suggest that a model is served.
    """
    auxiliary = data.get("auxiliary_deployments")
    for name in auxiliary if isinstance(auxiliary, dict) else ():
        if get(data, ("auxiliary_deployments", name, "type")) == "none":
            put(data, ("auxiliary_deployments", name), {"type": "none"})
    if get(data, ("deployment", "type")) != "none":
        return
    for prefix, document in sources.layers:
        for key in document.data if prefix == ("deployment",) else ():
            loc: Loc = ("deployment", str(key))
            if key != "type" and get(dict(sources.user.data), loc) is None and not sources.is_overridden(loc):
                remove(data, loc)


def _drop_unused_commands(data: dict[str, Any], sources: Sources) -> None:
    """Remove the `base_command` of a group if nothing refers to it, since the server then builds its own command."""
    for prefix, document in sources.layers:
        loc: Loc = (*prefix, "base_command")
        packaged = document.data.get("base_command")
        if packaged is None or get(data, loc) != packaged:
            continue
        if not any(isinstance(value, str) and "base_command}" in value for _, value in leaves(data)):
            remove(data, loc)


def _set_parallelism(data: dict[str, Any]) -> None:
    """Convert the launcher's `execution.mode` to `parallelism`, unless the latter is given as well."""
    execution = data.get("execution")
    if not isinstance(execution, dict) or execution.get("mode") not in ("parallel", "sequential"):
        return
    mode = execution.pop("mode")
    tasks = get(data, ("evaluation", "tasks"))
    targets = data.get("targets")
    jobs = len(tasks if isinstance(tasks, list) else ()) * max(1, len(targets if isinstance(targets, dict) else ()))
    execution.setdefault("parallelism", max(1, jobs) if mode == "parallel" else 1)
