"""Shell text made of words, never pasted together: every word is quoted, with holes only where a port goes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Expression", "Word", "array", "assign", "exports", "function", "quote"]


@dataclass(frozen=True, slots=True)
class Expression:
    """A word that the shell works out, written in full (`"$nodelist"`, `--nodes="$count"`)."""

    text: str


Word = str | Expression


def quote(word: Word, holes: Mapping[str, str] | None = None) -> str:
    """Return a word as shell text.

    Args:
        word: the word.
        holes: what stands for a value that only the job knows, and the variable that holds it there.
    """
    if isinstance(word, Expression):
        return word.text
    if not holes or not any(hole in word for hole in holes):
        return _quote(word)
    # NOTE: the longest first; an address with its port holds the port
    either = "|".join(re.escape(hole) for hole in sorted(holes, key=len, reverse=True))
    return "".join(
        f'"${holes[part]}"' if part in holes else _quote(part) for part in re.split(f"({either})", word) if part
    )


def _quote(text: str) -> str:
    # NOTE: a comma needs no quotes, but between the words of an array it looks like a mistake
    return f"'{text}'" if "," in text and shlex.quote(text) == text else shlex.quote(text)


def array(name: str, words: Sequence[Word], holes: Mapping[str, str] | None = None) -> str:
    """Return an array's assignment, one word on each line."""
    lines = "".join(f"    {quote(word, holes)}\n" for word in words)
    return f"{name}=(\n{lines})\n"


def assign(values: Mapping[str, str | int]) -> str:
    """Return assignments of plain values."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def exports(values: Mapping[str, str], holes: Mapping[str, str] | None = None) -> list[str]:
    """Return lines that put variables into the environment."""
    return [f"export {name}={quote(value, holes)}" for name, value in values.items()]


def function(name: str, lines: Sequence[str]) -> str:
    """Return a function; an empty one does nothing."""
    body = "\n".join(f"    {line}" if line else "" for text in lines or [":"] for line in text.splitlines())
    return f"{name}() {{\n{body}\n}}\n"
