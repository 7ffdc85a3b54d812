"""Redaction of secrets, in every encoding in which they could appear in a text."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = [
    "HIDDEN",
    "MutableRedactor",
    "Redactor",
    "derived_forms",
    "likely_secrets",
    "named_variables",
    "secret_values",
]

HIDDEN: Final = "***"
MIN_LENGTH: Final = 4
"""Characters; redacting shorter texts would make logs unreadable and protect nothing."""
COMMON_VALUES: Final = re.compile(r"true|false|none|null|empty|\d{1,6}", re.IGNORECASE)
"""Values that are never secret; redacting them would damage every JSON file."""

PLAIN_WORD: Final = re.compile(r"[A-Za-z]?[a-z]{1,31}([ _-][a-z]{1,31}){0,3}")
"""Values that could be a field of a result, such as `accuracy`; structured files that are compared keep them."""

SECRET_NAMES: Final = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PAT)(_|$)", re.IGNORECASE)
"""Names of variables whose values are treated as secrets."""
LOCATION_NAMES: Final = re.compile(r"(PATH|FILE|DIR|NAME|URL)$", re.IGNORECASE)
"""Names of variables that contain the location of a secret, not the secret itself."""
NAMING_KEYS: Final = ("key_name", "passphrase_name", "token_name")
"""Endings of spec keys whose value is the name of a variable."""


def derived_forms(secret: str) -> frozenset[str]:
    """Return the secret, its lines, and their base64, hex, URL, JSON, HTML and shell encodings."""
    stripped = secret.strip("\r\n")
    pieces = {secret, stripped, *(line.strip() for line in secret.splitlines())}
    sensitive = (piece for piece in pieces if len(piece) >= MIN_LENGTH and not COMMON_VALUES.fullmatch(piece))
    forms = {form for piece in sensitive for form in _encoded(piece)}
    # NOTE: the CI runner matches line by line; a form with a line break would never match.
    return frozenset(form for form in forms if len(form) >= MIN_LENGTH and "\n" not in form and "\r" not in form)


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
    """Encode at each of the three offsets at which a secret can begin inside a longer text (`user:secret`)."""
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            text = encode(b"\0" * offset + data).decode()
            # NOTE: the first and last characters also encode bits of the surrounding text; only those in between
            # depend on the secret alone.
            start = (0, 2, 3)[offset]
            end = len(text) if (offset + len(data)) % 3 == 0 else -4 + (offset + len(data)) % 3
            forms.add(text[start:end])
        text = encode(data).decode()
        forms |= {text, text.rstrip("=")}
        # NOTE: `base64` and PEM writers wrap long lines; the CI runner matches each line separately.
        forms |= {text[start : start + width] for width in (64, 76) for start in range(0, len(text), width)}
    return forms


class Redactor:
    """Replaces known secrets in texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = frozenset(secrets)
        self.forms = frozenset(form for secret in self._secrets for form in derived_forms(secret))

    def for_structured_files(self) -> Redactor:
        """Return a redactor that keeps plain words, which would rewrite fields of results that are compared."""
        return Redactor(secret for secret in self._secrets if not PLAIN_WORD.fullmatch(secret.strip()))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        # NOTE: longest first; otherwise a part of a secret could be replaced and the rest remain.
        ordered = sorted(self.forms, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """Replace every form of every secret by `***`."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def mask(self, data: bytes) -> bytes:
        """Replace every form of every secret by as many asterisks, so that binary data keeps its structure."""
        return self._bytes_pattern.sub(lambda match: b"*" * len(match[0]), data) if self._bytes_pattern else data

    @cached_property
    def _bytes_pattern(self) -> re.Pattern[bytes] | None:
        ordered = sorted((form.encode() for form in self.forms), key=len, reverse=True)
        return re.compile(b"|".join(map(re.escape, ordered))) if ordered else None

    def finds(self, data: bytes) -> bool:
        """Whether the data contains any form of a secret."""
        return any(form.encode() in data for form in self.forms)


class MutableRedactor:
    """A redactor that accepts further secrets while it is in use, for the logs of running processes."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._redactor = Redactor(())
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Redact these secrets from now on."""
        extended = self._secrets.union(secrets)
        if extended != self._secrets:
            self._secrets, self._redactor = extended, Redactor(extended)

    def __call__(self, text: str) -> str:
        """Replace every form of every secret by `***`."""
        return self._redactor(text)


def secret_values(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the named variables that are set and not empty."""
    return {name: environ[name] for name in names if environ.get(name)}


def likely_secrets(environ: Mapping[str, str], named: Iterable[str] = ()) -> list[str]:
    """Return the values of variables that are secret by their name, or because the spec names them.

    Args:
        environ: the environment.
        named: variables that the spec names.
    """
    names = {name for name in environ if SECRET_NAMES.search(name) and not LOCATION_NAMES.search(name)}
    return [environ[name] for name in sorted(names | set(named)) if environ.get(name)]


def named_variables(spec: object, key: str = "") -> Iterator[str]:
    """Yield the names of the variables that a spec refers to: `host:NAME`, and the values of keys such as `key_name`.

    Args:
        spec: the spec, or a part of it, as plain data.
        key: key of that part.
    """
    if isinstance(spec, Mapping):
        for name, value in spec.items():
            yield from named_variables(value, str(name))
    elif isinstance(spec, list):
        for value in spec:
            yield from named_variables(value, key)
    elif isinstance(spec, str) and spec.startswith("host:"):
        yield spec.removeprefix("host:")
    elif isinstance(spec, str) and key.endswith(NAMING_KEYS):
        yield spec
