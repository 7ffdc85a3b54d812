"""From a file and overrides to a `Spec`: read, compose, rename, resolve, validate; every problem with its place."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nel_action.errors import Location, Problem, SpecError, UsageError
from nel_action.spec.checks import check_spec
from nel_action.spec.defaults import GROUPS, Entry, check_choices, read_defaults
from nel_action.spec.deprecations import rename
from nel_action.spec.environment import check_environment
from nel_action.spec.interpolate import interpolate
from nel_action.spec.model import Spec
from nel_action.spec.nested import Loc, conflicts, get, leaves, remove
from nel_action.spec.overrides import Override, apply_to_tasks, parse_overrides
from nel_action.spec.plain_compose import DeclinedError, compose_plain
from nel_action.spec.source_positions import Document, Sources, dotted, read_group
from nel_action.spec.validate import missing_values, validate

__all__ = ["LoadedSpec", "load_spec"]


@dataclass(frozen=True)
class LoadedSpec:
    """A spec, what it was made of, and where each part of it was written."""

    spec: Spec
    """The validated spec."""
    source: Path
    """The user's file, as it was named."""
    base_dir: Path
    """The absolute folder that relative paths in the spec start from."""
    resolved: dict[str, Any]
    """The composed spec as plain data, for `spec.yaml`; secrets by name. Loading it again gives the same."""
    digest: str
    """SHA-256 of `resolved` as canonical JSON, in hex."""
    warnings: tuple[Problem, ...]
    """What was accepted and should be written otherwise."""
    sources: Sources
    """Files and overrides that it was composed of."""

    def locate(self, loc: Sequence[str | int]) -> Location:
        """Return the best place for a key (`("evaluation", "tasks", 0, "name")`): file, line and column of the key or
        of its nearest ancestor; `-o …` for what the command line set; the group's file for what a group brought.
        """  # noqa: D205 - one sentence
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
        path: A file. Or leave it out and give a config by name.
        config_dir: The folder of `config_name`; the current one, then the packaged ones, unless said.
        config_name: A config's name, with or without `.yaml`.
        overrides: As on the command line: `a.b=c`, `+a.b=c`, `++a.b=c`, `~a.b`, `group=option`,
            `evaluation.tasks.<name>.k=v`, `config.params.k=v`.
        environ: Where `${oc.env:NAME}` is read.

    Raises:
        SpecError: all that is wrong with the spec, each with its place.
        UsageError: no file was named, or two.

    Example:
        >>> loaded = load_spec(Path("evals/gate.yaml"), overrides=["execution.parallelism=2"])
        >>> loaded.spec.evaluation.tasks[0].name
        'ifeval'
    """
    source = _find(path, config_dir, config_name)
    document = Document.read(source)
    base = source.parent.absolute()
    entries = read_defaults(document, (base, GROUPS))
    parsed = parse_overrides(overrides)
    check_choices(entries, parsed, (base, GROUPS))
    for_tasks = [override for override in parsed if override.is_for_a_task]
    others = [override for override in parsed if not override.is_for_a_task]
    data, used = _compose(document, entries, others)
    sources = _sources(document, used, others, entries)
    sources.overrides += apply_to_tasks(data, for_tasks)
    resolved, spec, warnings = _finish(data, sources, environ)
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"))
    return LoadedSpec(
        spec=spec,
        source=source,
        base_dir=Path.cwd() if source.is_relative_to(GROUPS) else base,
        resolved=resolved,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        warnings=tuple(warnings),
        sources=sources,
    )


def _find(path: Path | None, folder: Path | None, name: str | None) -> Path:
    """Return the file that was named."""
    if path is not None:
        if name is not None or folder is not None:
            msg = "a file and a config by name are both given"
            raise UsageError(msg, hint="give the file, or --config-dir and --config-name")
        return path
    if name is None:
        msg = "no spec is named"
        raise UsageError(msg, hint="give a file, or --config-name with --config-dir")
    file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    if folder is not None:
        return folder / file
    return next((at / file for at in (Path(), GROUPS) if (at / file).is_file()), Path(file))


def _compose(
    document: Document, entries: tuple[Entry, ...], overrides: Sequence[Override]
) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    try:
        data, used = compose_plain(document, entries, overrides)
    except DeclinedError:
        from nel_action.spec.hydra_compose import compose_with_hydra

        _check_kinds(document, entries)
        data, used = compose_with_hydra(document, overrides), entries
    # NOTE: what YAML aliases share is written out, so that a change in one place stays there.
    return json.loads(json.dumps(data)), used


def _check_kinds(document: Document, entries: Sequence[Entry]) -> None:
    """Refuse a list where a group has a mapping, and the other way round: Hydra would not say where.

    Raises:
        SpecError: there is such a place.
    """
    problems = []
    for entry in entries:
        group = read_group(entry.file).data if entry.file is not None else {}
        for inner in conflicts(group, get(dict(document.data), entry.package)):
            loc = (*entry.package, *inner)
            wanted = "a mapping" if isinstance(get(dict(group), inner), dict) else "a list"
            problems.append(Problem(f"{dotted(loc)} must be {wanted}", document.place(loc)[0]))
    if problems:
        raise SpecError(problems)


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
    """Rename, resolve, validate; `data` becomes the resolved spec.

    Raises:
        SpecError: with everything that any of these steps found.
    """
    warnings = rename(data, sources)
    _drop_unused_commands(data, sources)
    problems, more = check_environment(data, sources.locate)
    warnings += more
    unresolved = interpolate(data, environ, sources.locate)
    gaps, gap_places = missing_values(data, sources)
    _set_parallelism(data)
    bad = {loc for loc, value in leaves(data) if isinstance(value, str) and "${" in value} if unresolved else set()
    spec, invalid = validate(data, sources, gap_places | bad)
    for found in (unresolved, gaps, invalid):
        places = {problem.location for problem in problems}
        problems += [problem for problem in found if problem.location not in places]
    if spec is not None:
        problems += check_spec(spec, sources.locate)
    if problems or spec is None:
        raise SpecError(sorted(dict.fromkeys(problems), key=_order))
    return data, spec, warnings


def _order(problem: Problem) -> tuple[str, int, int]:
    place = problem.location
    return (str(place.file), place.line or 0, place.column or 0) if place else ("", 0, 0)


def _drop_unused_commands(data: dict[str, Any], sources: Sources) -> None:
    """Take out a group's `base_command` that nothing refers to: the server makes its own command line."""
    for prefix, document in sources.layers:
        loc: Loc = (*prefix, "base_command")
        packaged = document.data.get("base_command")
        if packaged is None or get(data, loc) != packaged:
            continue
        if not any(isinstance(value, str) and "base_command}" in value for _, value in leaves(data)):
            remove(data, loc)


def _set_parallelism(data: dict[str, Any]) -> None:
    """Turn the launcher's `execution.mode` into `parallelism`, unless that is given too."""
    execution = data.get("execution")
    if not isinstance(execution, dict) or execution.get("mode") not in ("parallel", "sequential"):
        return
    mode = execution.pop("mode")
    tasks = get(data, ("evaluation", "tasks"))
    targets = data.get("targets")
    jobs = len(tasks if isinstance(tasks, list) else ()) * max(1, len(targets if isinstance(targets, dict) else ()))
    execution.setdefault("parallelism", max(1, jobs) if mode == "parallel" else 1)
