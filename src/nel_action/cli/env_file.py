"""`--env-file`: environment variables from a file; variables of the environment take precedence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from nel_action.errors import Location, Problem, SpecError

__all__ = ["environment", "read_env_file"]

LINE: Final = re.compile(r"^(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)$", re.DOTALL)
ESCAPES: Final = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
"""Character after a backslash inside double quotes, and its meaning."""


def environment(environ: Mapping[str, str], file: Path | None) -> dict[str, str]:
    """Return the environment, extended by the variables of a file.

    Without a file, `.env` in the current directory is read, as NeMo Evaluator Launcher does; but not in CI, where a
    pull request could add one.

    Args:
        environ: the environment.
        file: the file; None for the default.

    Raises:
        SpecError: the file cannot be read, or a line is malformed.
    """
    if file is None:
        file = Path(".env")
        if environ.get("CI") or not file.is_file():
            return dict(environ)
        click.echo("reading environment variables from .env", err=True)
    variables = read_env_file(file)
    for name in sorted(set(variables) & set(environ)):
        if variables[name] != environ[name]:
            click.echo(f"warning: {file}: {name} is also set in the environment, which takes precedence", err=True)
    return {**variables, **environ}


def read_env_file(file: Path) -> dict[str, str]:
    """Read `NAME=value` lines, without expansion or execution.

    Raises:
        SpecError: the file cannot be read, or lines are malformed; their text is not shown, because it may be secret.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError(
            [Problem(f"cannot be read: {reason}", Location(file), "check the path of --env-file")]
        ) from error
    variables: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = LINE.match(stripped)
        value = _parse_value(match["value"]) if match else None
        if match is None or value is None:
            problems.append(Problem("not a NAME=value line", Location(file, number, 1), "close quotes, if any"))
        else:
            variables[match["name"]] = value
    if problems:
        raise SpecError(problems)
    return variables


def _parse_value(text: str) -> str | None:
    """Return a value without quotes and trailing comment; None if a quote is not closed."""
    text = text.strip()
    if text[:1] == "'":
        end = text.find("'", 1)
        return text[1:end] if end > 0 and _is_comment(text[end + 1 :]) else None
    if text[:1] == '"':
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"(.*)', text)
        if quoted is None or not _is_comment(quoted[2]):
            return None
        return re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[0]), quoted[1])
    return re.split(r"\s+#", text, maxsplit=1)[0].strip()


def _is_comment(text: str) -> bool:
    """Whether the text after a quoted value is empty or a comment."""
    return not text.strip() or text.lstrip().startswith("#")
