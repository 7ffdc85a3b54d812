"""What can be known to be wrong with a spec's `export:` before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nel_action.errors import NelActionError, NotFoundError, Problem, SpecError
from nel_action.exporters.registry import as_meant, exporter_named
from nel_action.exporters.send import variables
from nel_action.model.env_ref import EnvRef
from nel_action.spec.compose import LoadedSpec
from nel_action.spec.validate import validate_part

__all__ = ["check_exports"]


def check_exports(
    loaded: LoadedSpec, environ: Mapping[str, str], *, wanted: Sequence[str] | None = None
) -> tuple[Problem, ...]:
    """Check every exporter's settings in the lines they were written in.

    Args:
        loaded: the spec.
        environ: where credentials come from.
        wanted: destinations that results will go to; `execution.auto_export.destinations` unless said.

    Returns:
        What would keep results from arriving as things stand (a library, a credential), each a warning only:
        reporting decides nothing, and what is missing may come by the time it is needed.

    Raises:
        SpecError: settings that mean nothing, and destinations that nobody knows.
    """
    sections = _sections(loaded.resolved)
    going = _automatic(loaded) if wanted is None else tuple(wanted)
    wrong: list[Problem] = []
    warnings: list[Problem] = []
    for name in dict.fromkeys((*going, *sections)):
        told = list(_told(loaded, environ, name, going=name in going))
        wrong += [problem for problem, fatal in told if fatal]
        warnings += [problem for problem, fatal in told if not fatal]
    if wrong:
        raise SpecError(wrong)
    return tuple(warnings)


def _told(loaded: LoadedSpec, environ: Mapping[str, str], name: str, *, going: bool) -> Iterator[tuple[Problem, bool]]:
    """Say what is wrong with one destination, and whether that stops the run."""
    place = ("export", name) if name in _sections(loaded.resolved) else ("execution", "auto_export", "destinations")
    try:
        exporter = exporter_named(name)
    except NotFoundError as error:
        # NOTE: a section for a plug-in that is installed elsewhere is no mistake; one that is nearly ours is.
        fatal = going or "did you mean" in str(error.problems[0].hint)
        yield Problem(error.problems[0].message, loaded.locate(place), error.problems[0].hint), fatal
        return
    section = _sections(loaded.resolved).get(name)
    meant = as_meant(section) if isinstance(section, dict) else section
    data = {**loaded.resolved, "export": {name: {} if meant is None else meant}}
    settings, problems = validate_part(exporter.settings, data, ("export", name), loaded.sources)
    yield from ((problem, True) for problem in problems)
    if settings is None or not going:
        return
    try:
        found = exporter.check(settings, variables(_named(loaded), environ))
    except NelActionError as error:
        found = error.problems
    for problem in found:
        yield Problem(f"export to {name}: {problem.message}", loaded.locate(place), problem.hint), False


def _sections(resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in (resolved.get("export") or {}).items() if name != "env_vars"}


def _automatic(loaded: LoadedSpec) -> tuple[str, ...]:
    asked = (loaded.resolved.get("execution") or {}).get("auto_export") or {}
    return tuple(str(name) for name in asked.get("destinations") or ())


def _named(loaded: LoadedSpec) -> dict[str, EnvRef]:
    """Return the variables that exports get besides the environment."""
    return {**loaded.spec.env_vars, **loaded.spec.export.env_vars}
