"""Routing of requests to handlers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.doubles.lepton.platform import Platform

__all__ = ["Request", "Response", "Routes"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that matched a route."""

    platform: Platform
    parts: dict[str, str]
    query: dict[str, list[str]]
    body: Any

    def parameter(self, name: str, default: str) -> str:
        """Return the first value of a query parameter."""
        return self.query.get(name, [default])[0]


@dataclass(frozen=True, slots=True)
class Response:
    """A JSON response, or a stream of text."""

    json: Any = None
    status: int = 200
    stream: Iterator[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


@dataclass(slots=True)
class Routes:
    """A table of routes."""

    routes: list[tuple[str, re.Pattern[str], Handler]] = field(default_factory=list)

    def on(self, method: str, *paths: str) -> Callable[[Handler], Handler]:
        """Register a handler; `{name}` matches one segment of the path."""

        def register(handler: Handler) -> Handler:
            for path in paths:
                pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
                self.routes.append((method, pattern, handler))
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """Return the handler of a request and the values of the path's variables."""
        for route_method, pattern, handler in self.routes:
            if route_method == method and (match := pattern.fullmatch(path)):
                return handler, match.groupdict()
        return None
