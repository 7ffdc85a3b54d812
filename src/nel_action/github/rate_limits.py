"""Interpretation of GitHub answers outside 2xx: rate limits, server errors and refusals.

Source: GitHub Docs, "Rate limits for the REST API": wait for `Retry-After`; without it and with no requests remaining,
until `x-ratelimit-reset`; otherwise at least one minute, doubled with every further try.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from nel_action.github.errors import (
    GitHubError,
    MissingError,
    PermissionRefusedError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    permission_lines,
)
from nel_action.retry import parse_retry_after

if TYPE_CHECKING:
    import requests

__all__ = ["Clock", "error_of", "retry_delay"]

SECONDARY_WAIT: Final = 60.0
"""Seconds to wait after the first answer of a secondary rate limit that names no time."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Sources of time, replaced in tests."""

    now: Callable[[], float] = time.time
    """Seconds since 1970; the end of a rate limit is given on this clock."""
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def retry_delay(error: Exception, *, idempotent: bool) -> float | None:
    """Return the least number of seconds to wait before a request is repeated, or None if it must not be.

    Args:
        error: what the request raised.
        idempotent: whether the request may be carried out twice.
    """
    if isinstance(error, RateLimitedError):
        return error.retry_after  # NOTE: GitHub did not carry the request out; even a POST may be repeated.
    return 0.0 if isinstance(error, UnavailableError) and idempotent else None


def error_of(method: str, path: str, response: requests.Response, *, number: int, now: float) -> GitHubError:
    """Return the error that an answer outside 2xx means.

    Args:
        method: HTTP method of the request.
        path: path of the request.
        response: the answer.
        number: which try of the request this is, from 1.
        now: seconds since 1970.
    """
    status = response.status_code
    message = f"GitHub answered {status} to {method} {path}: {_message(response)}"
    if _is_rate_limited(response):
        wait = _rate_limit_wait(response, number, now)
        hint = "the rate limit resets by itself; run the workflow again later"
        return RateLimitedError(f"{message}; retry after {wait:.0f} s", retry_after=wait, hint=hint)
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return PermissionRefusedError(
                message, hint="the token is invalid or has expired; check the input `github-token`"
            )
        case HTTPStatus.FORBIDDEN:
            lines = permission_lines(method, path, response.headers.get("x-accepted-github-permissions"))
            return PermissionRefusedError(message, hint=f"add these lines to the job:\n{lines}")
        case HTTPStatus.NOT_FOUND:
            return MissingError(message)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(message)
    return RefusedError(message, status=status)


def _is_rate_limited(response: requests.Response) -> bool:
    """Whether the answer is 429, or a 403 because of a rate limit."""
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    headers = response.headers
    return response.status_code == HTTPStatus.FORBIDDEN and (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in _message(response).lower()
    )


def _rate_limit_wait(response: requests.Response, number: int, now: float) -> float:
    """Return the seconds to wait before try `number + 1`."""
    retry_after = parse_retry_after(response.headers.get("retry-after"), now=datetime.fromtimestamp(now, UTC))
    if retry_after is not None:
        return retry_after
    reset = response.headers.get("x-ratelimit-reset", "")
    if response.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(1.0, float(reset) - now + 1)
    return SECONDARY_WAIT * 2.0 ** (number - 1)


def _message(response: requests.Response) -> str:
    """Return the error message in the answer's body, at most 300 characters."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return response.reason or ""
    details = [item.get("message") or item.get("code") for item in answer.get("errors", []) if isinstance(item, dict)]
    return "; ".join(str(text) for text in (answer.get("message"), *details) if text)[:300]
