"""Secrets in all the forms in which they could turn up, and texts without them."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "Redactor", "derived_forms", "secret_values"]

HIDDEN: Final = "***"
SHORTEST: Final = 4
"""Characters; hiding shorter pieces would hide the log and protect nothing."""
HARMLESS: Final = re.compile(r"true|false|none|null|empty|\d{1,6}", re.IGNORECASE)
"""Values that are nobody's secret; hiding them would spoil every JSON file."""


def derived_forms(secret: str) -> frozenset[str]:
    """Return the secret, its lines, and what encoders make of them: base64, hex, URL, JSON, HTML, shell."""
    whole = secret.strip("\r\n")
    pieces = {secret, whole, *(line.strip() for line in secret.splitlines())}
    likely = (piece for piece in pieces if len(piece) >= SHORTEST and not HARMLESS.fullmatch(piece))
    forms = {form for piece in likely for form in _encoded(piece)}
    # NOTE: the runner matches line by line; a form with a line break in it would match nothing.
    return frozenset(form for form in forms if len(form) >= SHORTEST and "\n" not in form and "\r" not in form)


def _encoded(piece: str) -> set[str]:
    data = piece.encode()
    quoted = json.dumps(piece)[1:-1]
    return {
        piece,
        quoted,
        json.dumps(quoted)[1:-1],
        json.dumps(piece, ensure_ascii=False)[1:-1],
        quote(piece),
        quote(piece, safe=""),
        quote_plus(piece),
        html.escape(piece),
        html.escape(piece, quote=False),
        shlex.quote(piece),
        data.hex(),
        data.hex().upper(),
        repr(piece)[1:-1],
        *_base64(data),
    }


def _base64(data: bytes) -> set[str]:
    """Encode at each of the three places where a secret can begin inside a longer text (`user:secret`)."""
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(b"\0" * before + data).decode()
            # NOTE: the characters at both ends also hold bits of the neighbours; only those between are the secret's.
            start = (0, 2, 3)[before]
            end = len(text) if (before + len(data)) % 3 == 0 else -4 + (before + len(data)) % 3
            forms.add(text[start:end])
        text = encode(data).decode()
        forms |= {text, text.rstrip("=")}
        # NOTE: `base64` and PEM writers break long lines; the runner sees each line alone.
        forms |= {text[at : at + width] for width in (64, 76) for at in range(0, len(text), width)}
    return forms


class Redactor:
    """Hides known secrets in texts that we write ourselves."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.forms = frozenset(form for secret in secrets for form in derived_forms(secret))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        # NOTE: the longest first, or a part of a secret would be hidden and the rest shown.
        ordered = sorted(self.forms, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Return the text with `***` in place of every form of every secret."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def finds(self, data: bytes) -> bool:
        """Say whether any form of a secret is in there."""
        return any(form.encode() in data for form in self.forms)


def secret_values(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return those of the named variables that are set and not empty."""
    return {name: environ[name] for name in names if environ.get(name)}
