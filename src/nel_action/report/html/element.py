"""HTML elements with text that is always escaped, so that outside text cannot become markup."""

from __future__ import annotations

import re
from html import escape

from nel_action.formatting import VERDICT_SYMBOLS

__all__ = ["Safe", "breakable", "el", "join", "mark"]

_VOID = frozenset({"br", "hr", "input", "meta"})
_BREAKS = re.compile(r"(?<=[._/:,-])(?=\w)")


class Safe(str):
    """Markup made by this package; any other string is text."""

    __slots__ = ()


def el(name: str, /, *children: str | None, **attributes: object) -> Safe:
    """Make an element.

    Args:
        name: name of the element.
        children: content; anything but `Safe` is escaped, None is left out.
        attributes: attributes; None is left out. An underscore becomes a dash (`aria_label`), a trailing one is
            removed (`class_`).
    """
    present = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{escape(str(value))}"' for key, value in present.items())
    return Safe(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str | None) -> Safe:
    """Concatenate children; text is escaped and None is left out."""
    return Safe("".join(child if isinstance(child, Safe) else escape(child) for child in children if child is not None))


def breakable(name: str) -> Safe:
    """Return a name that wraps between its parts."""
    return Safe("<wbr>".join(escape(part) for part in _BREAKS.split(name)))


def mark(style: str) -> Safe:
    """Return the symbol of a verdict, hidden from screen readers because the verdict in words follows."""
    return el("span", VERDICT_SYMBOLS.get(style, "·"), aria_hidden="true", class_=f"mark {style}")
