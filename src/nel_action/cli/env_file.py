"""`--env-file`: variables from a file, for what the spec names; what the environment has comes first."""

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


def environment(environ: Mapping[str, str], file: Path | None) -> dict[str, str]:
    """Return the environment with the variables of a file below its own.

    Without a file, `.env` of the current directory is read, as NeMo Evaluator Launcher does; but not in CI, where a
    pull request could bring one.

    Raises:
        SpecError: the file is not there, or a line of it is none.
    """
    if file is None:
        file = Path(".env")
        if environ.get("CI") or not file.is_file():
            return dict(environ)
        click.echo("variables are read from .env too", err=True)
    given = read_env_file(file)
    for name in sorted(set(given) & set(environ)):
        if given[name] != environ[name]:
            click.echo(f"warning: {file}: {name} is set in the environment, which comes first", err=True)
    return {**given, **environ}


def read_env_file(file: Path) -> dict[str, str]:
    """Read `NAME=value` lines; nothing in them is executed or filled in.

    Raises:
        SpecError: the file is not there, or a line of it is none; its text is not shown.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SpecError([Problem(f"cannot read it: {reason}", Location(file), "--env-file names a file")]) from error
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        match = LINE.match(words)
        value = _value(match["value"]) if match else None
        if match is None or value is None:
            problems.append(Problem("is no NAME=value", Location(file, number, 1), "quotes must be closed"))
        else:
            found[match["name"]] = value
    if problems:
        raise SpecError(problems)
    return found


def _value(text: str) -> str | None:
    """Return a value without its quotes and without a comment; None where a quote is not closed."""
    text = text.strip()
    if text[:1] == "'":
        end = text.find("'", 1)
        return text[1:end] if end > 0 and _nothing_more(text[end + 1 :]) else None
    if text[:1] == '"':
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"(.*)', text)
        if quoted is None or not _nothing_more(quoted[2]):
            return None
        return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[0]), quoted[1])
    return re.split(r"\s+#", text, maxsplit=1)[0].strip()


def _nothing_more(rest: str) -> bool:
    return not rest.strip() or rest.lstrip().startswith("#")
