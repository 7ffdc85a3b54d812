"""Generation of shell text: every argument is quoted, and placeholders become variables of the batch script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = [
    "LOGIN_BASH",
    "Argument",
    "ShellExpression",
    "array",
    "assignments",
    "exports",
    "function",
    "quote",
    "template",
]


@dataclass(frozen=True, slots=True)
class ShellExpression:
    """An argument that the shell evaluates, already quoted (`"$nodelist"`, `--nodes="$count"`)."""

    text: str


LOGIN_BASH: Final = ("bash", "--norc", "--noprofile", "-c")
"""Bash on the login node, without start-up files; a script follows."""

Argument = str | ShellExpression
"""One argument of a command: literal text, or an expression."""


def quote(argument: Argument, placeholders: Mapping[str, str] | None = None) -> str:
    """Return an argument as shell text.

    Args:
        argument: the argument.
        placeholders: text for a value that only the running job knows → the shell variable with that value.
    """
    if isinstance(argument, ShellExpression):
        return argument.text
    if not placeholders or not any(placeholder in argument for placeholder in placeholders):
        return _quote(argument)
    # NOTE: the longest first, since the placeholder of an address contains that of a port.
    pattern = "|".join(re.escape(placeholder) for placeholder in sorted(placeholders, key=len, reverse=True))
    return "".join(
        f'"${placeholders[part]}"' if part in placeholders else _quote(part)
        for part in re.split(f"({pattern})", argument)
        if part
    )


def _quote(text: str) -> str:
    # NOTE: shlex leaves commas unquoted, but shellcheck takes a comma between array elements for a mistake.
    return f"'{text}'" if "," in text and shlex.quote(text) == text else shlex.quote(text)


def array(name: str, arguments: Sequence[Argument], placeholders: Mapping[str, str] | None = None) -> str:
    """Return the assignment of an array, one element per line.

    Args:
        name: the array's name.
        arguments: its elements.
        placeholders: as for `quote`.
    """
    lines = "".join(f"    {quote(argument, placeholders)}\n" for argument in arguments)
    return f"{name}=(\n{lines})\n"


def assignments(values: Mapping[str, str | int]) -> str:
    """Return assignments of literal values."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def exports(values: Mapping[str, str], placeholders: Mapping[str, str] | None = None) -> list[str]:
    """Return one `export` line per variable."""
    return [f"export {name}={quote(value, placeholders)}" for name, value in values.items()]


def function(name: str, lines: Sequence[str]) -> str:
    """Return the definition of a function; without lines it does nothing."""
    body = "\n".join(f"    {line}" if line else "" for text in lines or [":"] for line in text.splitlines())
    return f"{name}() {{\n{body}\n}}\n"


@cache
def template(name: str) -> str:
    """Return the text of a file in `templates/`."""
    return files("nel_action.executors.slurm").joinpath("templates", name).read_text("utf-8")
