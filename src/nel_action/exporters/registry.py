"""Which exporters there are: ours by a table, other people's by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from pydantic import ValidationError

from nel_action.errors import NotFoundError, Problem, SpecError
from nel_action.exporters.interface import CommonSettings, Exporter

__all__ = ["as_meant", "exporter_named", "names", "settings_from"]

GROUP: Final = "nel_action.exporters"

_OURS: Final = {
    "local": "nel_action.exporters.local.exporter:EXPORTER",
    "gsheets": "nel_action.exporters.gsheets.exporter:EXPORTER",
    "mlflow": "nel_action.exporters.mlflow.exporter:EXPORTER",
    "wandb": "nel_action.exporters.wandb.exporter:EXPORTER",
}


def names() -> tuple[str, ...]:
    """Name every exporter, ours first; none of them is imported."""
    others = sorted(point.name for point in entry_points(group=GROUP))
    return tuple(dict.fromkeys((*_OURS, *others)))


def exporter_named(name: str) -> Exporter[Any]:
    """Import one exporter; its library only when it is used.

    Raises:
        NotFoundError: nothing answers to the name.
    """
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        ours: Exporter[Any] = getattr(import_module(module), attribute)
        return ours
    for point in entry_points(group=GROUP, name=name):
        theirs: Exporter[Any] = point.load()
        return theirs
    near = get_close_matches(name, names(), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names())}"
    msg = f"no exporter '{name}'"
    raise NotFoundError(msg, hint=hint)


_RENAMED: Final = {"log_logs": "copy_logs", "log_artifacts": "copy_artifacts"}
"""Names that NeMo Evaluator Launcher still takes; where both are given the new one counts."""


def as_meant(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out keys that are empty, as if nobody had written them, and give old names their new ones."""
    present = {name: value for name, value in options.items() if value is not None}
    old = {name: present.pop(name) for name in _RENAMED if name in present}
    return {**{_RENAMED[name]: value for name, value in old.items()}, **present}


def settings_from(exporter: Exporter[Any], options: Mapping[str, Any]) -> CommonSettings:
    """Check the options of `export.<name>`.

    Raises:
        SpecError: all that is wrong with them, at once.
    """
    try:
        # NOTE: by way of JSON, so that a YAML list fits a tuple while "yes" still does not fit a bool.
        settings: CommonSettings = exporter.settings.model_validate_json(_as_json(as_meant(options)))
    except ValidationError as error:
        known = list(exporter.settings.model_fields)
        raise SpecError([_problem(exporter.name, dict(one), known) for one in error.errors()]) from error
    return settings


def _as_json(options: Mapping[str, Any]) -> str:
    import json

    return json.dumps(dict(options), default=str)


def _problem(destination: str, error: Mapping[str, Any], known: list[str]) -> Problem:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = get_close_matches(place, known, n=1)
        return Problem(
            f"unknown key '{place}' in export.{destination}" + (f"; did you mean '{near[0]}'?" if near else "")
        )
    return Problem(f"export.{destination}.{place}: {error['msg']}")
