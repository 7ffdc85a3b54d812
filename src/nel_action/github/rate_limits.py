"""What an answer that is not 2xx means: later, again, or no.

Source: GitHub Docs, "Rate limits for the REST API": wait for `Retry-After`, else, where nothing remains, until
`x-ratelimit-reset`, else at least a minute, doubling.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
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

if TYPE_CHECKING:
    import requests

__all__ = ["Clock", "is_limited", "refusal", "wait_before_retry"]

SECONDARY_WAIT: Final = 60.0
"""Seconds, where a secondary limit names no time."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, so that tests need not wait."""

    now: Callable[[], float] = time.time
    """Seconds since 1970: rate limits end at such a time."""
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def is_limited(response: requests.Response) -> bool:
    """Whether a refusal means "later": 429, or a 403 that says so."""
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    headers = response.headers
    return response.status_code == HTTPStatus.FORBIDDEN and (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in _message(response).lower()
    )


def wait_before_retry(response: requests.Response | None, number: int, *, now: float, repeatable: bool) -> float | None:
    """Return seconds until try `number + 1`; None where there should be none."""
    backoff = 2.0 ** (number - 1)
    # NOTE: a limited request was not carried out; even a POST may be sent again.
    if response is not None and is_limited(response):
        return _limit_wait(response, backoff, now)
    lost = response is None or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return backoff if lost and repeatable else None


def _limit_wait(response: requests.Response, backoff: float, now: float) -> float:
    after, reset = response.headers.get("retry-after", ""), response.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        return float(after)
    if response.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return max(1.0, float(reset) - now + 1)
    return SECONDARY_WAIT * backoff


def refusal(method: str, path: str, response: requests.Response) -> GitHubError:
    """Say what became of a request that GitHub refused for good."""
    status = response.status_code
    what = f"GitHub answered {status} to {method} {path}: {_message(response)}"
    if is_limited(response):
        return RateLimitedError(what)
    match status:
        case HTTPStatus.UNAUTHORIZED:
            hint = "the token is wrong or has ended; check the input `github-token`"
            return PermissionRefusedError(what, hint=hint)
        case HTTPStatus.FORBIDDEN:
            lines = permission_lines(method, path, response.headers.get("x-accepted-github-permissions"))
            return PermissionRefusedError(what, hint=f"give the job these lines:\n{lines}")
        case HTTPStatus.NOT_FOUND:
            return MissingError(what)
    server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return UnavailableError(what) if server else RefusedError(what, status=status)


def _message(response: requests.Response) -> str:
    """Return GitHub's own words, short."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return response.reason or ""
    details = [item.get("message") or item.get("code") for item in answer.get("errors", []) if isinstance(item, dict)]
    return "; ".join(str(text) for text in (answer.get("message"), *details) if text)[:300]
