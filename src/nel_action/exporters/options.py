"""`-o export.NAME.KEY=VALUE` on the command line."""

from __future__ import annotations

from typing import Any

from nel_action.errors import Problem

__all__ = ["override"]


def override(options: dict[str, Any], text: str, destination: str) -> Problem | None:
    """Set one option in place; the value is read as YAML. `~export.NAME.KEY` takes one back that the spec sets.

    Returns:
        What is wrong, if anything.
    """
    import yaml

    name, equals, value = text.partition("=")
    place = name.lstrip("+~").strip().split(".")
    taken_back = name.startswith("~")
    if not (equals or taken_back) or place[:2] != ["export", destination] or len(place) < 3 or not all(place):  # noqa: PLR2004
        return Problem(f"cannot read -o {text}", hint=f"write -o export.{destination}.KEY=VALUE")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        read = value
    inner = options
    for part in place[2:-1]:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            return Problem(f"cannot read -o {text}: {part} holds a value of its own")
    # NOTE: an empty value over the spec's own is the same as none at all.
    inner[place[-1]] = None if taken_back else read
    return None
