"""Options of `export.NAME`: normalized, validated, and overridden on the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from nel_action.errors import Problem, SpecError
from nel_action.exporters.interface import CommonSettings, Exporter

__all__ = ["apply_override", "normalize_options", "parse_settings"]

_RENAMED: Final = {"log_logs": "copy_logs", "log_artifacts": "copy_artifacts"}
"""Names that NeMo Evaluator Launcher accepts; the new name takes precedence if both are given."""


def normalize_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Drop empty keys and replace the launcher's old names by the current ones."""
    present = {name: value for name, value in options.items() if value is not None}
    old = {name: present.pop(name) for name in _RENAMED if name in present}
    return {**{_RENAMED[name]: value for name, value in old.items()}, **present}


def parse_settings(exporter: Exporter[Any], options: Mapping[str, Any]) -> CommonSettings:
    """Validate the options of `export.<name>`.

    Args:
        exporter: the exporter that the options are for.
        options: the options, as the spec and the command line give them.

    Raises:
        SpecError: every problem of the options.
    """
    try:
        # NOTE: through JSON, so that a YAML list becomes a tuple while "yes" is still no bool.
        text = json.dumps(normalize_options(options), default=str)
        settings: CommonSettings = exporter.settings.model_validate_json(text)
    except ValidationError as error:
        known = list(exporter.settings.model_fields)
        raise SpecError([_problem(exporter.name, dict(details), known) for details in error.errors()]) from error
    return settings


def _problem(destination: str, error: Mapping[str, Any], known: list[str]) -> Problem:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, known, n=1)
        return Problem(
            f"unknown key '{key}' in export.{destination}" + (f"; did you mean '{near[0]}'?" if near else "")
        )
    return Problem(f"export.{destination}.{key}: {error['msg']}")


def apply_override(options: dict[str, Any], text: str, destination: str) -> Problem | None:
    """Apply `-o export.NAME.KEY=VALUE` in place; `~export.NAME.KEY` removes an option that the spec sets.

    Args:
        options: the options to change; the value is parsed as YAML.
        text: the argument of `-o`.
        destination: name of the exporter.

    Returns:
        The problem if the override is invalid.
    """
    import yaml

    name, equals, value = text.partition("=")
    keys = name.lstrip("+~").strip().split(".")
    remove = name.startswith("~")
    if not (equals or remove) or keys[:2] != ["export", destination] or len(keys) < 3 or not all(keys):  # noqa: PLR2004
        return Problem(f"invalid override: -o {text}", hint=f"write -o export.{destination}.KEY=VALUE")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = value
    inner = options
    for key in keys[2:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            return Problem(f"invalid override: -o {text}; {key} is not a mapping")
    # NOTE: empty options are dropped by `normalize_options`, so None removes the spec's own value.
    inner[keys[-1]] = None if remove else parsed
    return None
