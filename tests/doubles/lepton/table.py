"""Which request goes where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.doubles.lepton.platform import Platform

__all__ = ["Answer", "Asked", "Table"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    platform: Platform
    parts: dict[str, str]
    query: dict[str, list[str]]
    body: Any

    def one(self, name: str, default: str) -> str:
        return self.query.get(name, [default])[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: JSON, or text as it comes."""

    json: Any = None
    status: int = 200
    stream: Iterator[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Asked], Answer]


@dataclass(slots=True)
class Table:
    """Routes; a later file adds its own."""

    rows: list[tuple[str, re.Pattern[str], Handler]] = field(default_factory=list)

    def on(self, method: str, *paths: str) -> Callable[[Handler], Handler]:
        """Register a handler; `{name}` takes one part of the path."""

        def register(handler: Handler) -> Handler:
            for path in paths:
                pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
                self.rows.append((method, pattern, handler))
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        for known, pattern, handler in self.rows:
            if known == method and (match := pattern.fullmatch(path)):
                return handler, match.groupdict()
        return None
