"""Escaping of outside text (model names, task names, reasons, log lines) for GitHub's Markdown.

Escaped or removed: whatever would end a table cell or a line, markup, HTML, comments, links, images, mentions and issue
references (both notify people), and characters that reorder or hide text.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

__all__ = ["link", "text"]

# NOTE: GitHub finds mentions, issue references and addresses in the rendered text, where entities and backslashes are
# gone; only a character in between prevents that. A zero-width space is invisible.
_BREAK: Final = "\N{ZERO WIDTH SPACE}"
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+!|~$])")
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


@lru_cache(maxsize=4096)  # NOTE: a page that is too long is rendered again with the same names
def text(value: object, *, limit: int = 300) -> str:
    """Return a value as one line of inert Markdown.

    Args:
        value: any value; converted to text.
        limit: characters at most, before escaping; longer text ends with an ellipsis.
    """
    line = " ".join("".join(_visible(character) for character in str(value)).split())
    if len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    line = _MARKUP.sub(r"\\\1", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = line.replace("@", f"@{_BREAK}").replace("#", f"#{_BREAK}").replace("://", f":{_BREAK}//")
    return re.sub(r"(?i)\b(www)(?=\.)|\b(gh)(?=-\d)|\b(mailto|xmpp)(?=:)", rf"\g<0>{_BREAK}", line)


def link(label: str, url: str) -> str | None:
    """Return a Markdown link, or None if `url` is not http or https."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        return None
    return f"[{text(label)}]({quote(url, safe=':/?#&=%+,;@~-._')})"


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in _HIDDEN else character
