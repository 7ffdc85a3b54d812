"""Validation of a spec's `export:` before anything is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nel_action.errors import NelActionError, NotFoundError, Problem, SpecError
from nel_action.exporters.credentials import resolve_variables
from nel_action.exporters.registry import get_exporter
from nel_action.exporters.settings import normalize_options
from nel_action.spec.compose import LoadedSpec
from nel_action.spec.validate import validate_part

__all__ = ["check_exports"]


def check_exports(
    loaded: LoadedSpec, environ: Mapping[str, str], *, destinations: Sequence[str] | None = None
) -> tuple[Problem, ...]:
    """Validate the options of every exporter in the spec and report problems with their source positions.

    Args:
        loaded: the spec.
        environ: variables that credentials are read from.
        destinations: exporters that will be used; `execution.auto_export.destinations` by default.

    Returns:
        Warnings: what would prevent an export at the moment (a missing library or credential). They do not stop the
        run, since exports never change the verdict and the cause may be fixed by the time of the export.

    Raises:
        SpecError: invalid options, and destinations without an exporter.
    """
    used = _auto_export(loaded) if destinations is None else tuple(destinations)
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for name in dict.fromkeys((*used, *_sections(loaded.resolved))):
        for problem, fatal in _problems(loaded, environ, name, used=name in used):
            (errors if fatal else warnings).append(problem)
    if errors:
        raise SpecError(errors)
    return tuple(warnings)


def _problems(
    loaded: LoadedSpec, environ: Mapping[str, str], name: str, *, used: bool
) -> Iterator[tuple[Problem, bool]]:
    """Yield the problems of one destination, and whether each one is an error."""
    sections = _sections(loaded.resolved)
    location = loaded.locate(("export", name) if name in sections else ("execution", "auto_export", "destinations"))
    try:
        exporter = get_exporter(name)
    except NotFoundError as error:
        # NOTE: a section for a plug-in that is installed elsewhere is accepted; a misspelt built-in name is not.
        fatal = used or "did you mean" in str(error.problems[0].hint)
        yield Problem(error.problems[0].message, location, error.problems[0].hint), fatal
        return
    section = sections.get(name)
    options = normalize_options(section) if isinstance(section, dict) else section
    data = {**loaded.resolved, "export": {name: {} if options is None else options}}
    settings, problems = validate_part(exporter.settings, data, ("export", name), loaded.sources)
    yield from ((problem, True) for problem in problems)
    if settings is None or not used:
        return
    try:
        variables = resolve_variables({**loaded.spec.env_vars, **loaded.spec.export.env_vars}, environ)
        missing: Sequence[Problem] = exporter.check(settings, variables)
    except NelActionError as error:
        missing = error.problems
    for problem in missing:
        yield Problem(f"export to {name}: {problem.message}", location, problem.hint), False


def _sections(resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {name: section for name, section in (resolved.get("export") or {}).items() if name != "env_vars"}


def _auto_export(loaded: LoadedSpec) -> tuple[str, ...]:
    auto_export = loaded.spec.execution.auto_export
    return auto_export.destinations if auto_export else ()
