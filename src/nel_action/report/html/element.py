"""Elements whose text is always escaped: what comes from outside cannot become markup by being forgotten."""

from __future__ import annotations

import re
from html import escape

__all__ = ["Safe", "breakable", "el", "join"]

_VOID = frozenset({"br", "hr", "input", "meta"})
_SEAMS = re.compile(r"(?<=[._/:,-])(?=\w)")


class Safe(str):
    """Markup that was made here; any other string is text."""

    __slots__ = ()


def el(name: str, /, *children: str | None, **attributes: object) -> Safe:
    """Make an element. A child that is not `Safe` is text and is escaped; an attribute that is None is left out.

    An underscore in an attribute's name stands for a dash (`aria_label`), one at its end for nothing (`class_`).
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{escape(str(value))}"' for key, value in named.items())
    return Safe(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | None) -> Safe:
    """Put children one after the other."""
    return Safe("".join(child if isinstance(child, Safe) else escape(child) for child in children if child is not None))


def breakable(name: str) -> Safe:
    """Write a long name so that it breaks between its parts rather than anywhere."""
    return Safe("<wbr>".join(escape(part) for part in _SEAMS.split(name)))
