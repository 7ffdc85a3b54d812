"""What GitHub can refuse, and the lines of a workflow that would let it.

GitHubError
├── PermissionRefusedError   the token may not do this
├── MissingError             nothing is there, or nothing that this token may see
├── RefusedError             GitHub understood and said no (422, 409, …)
├── RateLimitedError         the wait that GitHub asks for is longer than we may wait
└── UnavailableError         GitHub did not answer, or answered 5xx to the last try
"""

from __future__ import annotations

import re
from typing import Final

from nel_action.errors import NelActionError, UnreachableError

__all__ = [
    "GitHubError",
    "MissingError",
    "PermissionRefusedError",
    "RateLimitedError",
    "RefusedError",
    "UnavailableError",
    "describe_write_error",
    "permission_lines",
]


class GitHubError(UnreachableError):
    """GitHub could not be asked or told something; that says nothing about any verdict."""


class PermissionRefusedError(GitHubError):
    """The token lacks a permission; the hint holds the lines to add."""


class MissingError(GitHubError):
    """404: not there, or not for this token to see."""


class RefusedError(GitHubError):
    """GitHub refused the request's content."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RateLimitedError(GitHubError):
    """A rate limit would last longer than we may wait."""


class UnavailableError(GitHubError):
    """No answer, or a server's error, however often we tried."""


NEEDS: Final = (
    (r"/issues/(\d+/)?comments", "pull-requests"),
    (r"/check-(runs|suites)", "checks"),
    (r"/(git|contents|branches)/", "contents"),
    (r"/issues", "issues"),
    (r"/pulls", "pull-requests"),
    (r"/actions/", "actions"),
    (r"/commits/[^/]+/pulls", "pull-requests"),
)
"""Path → permission, for servers that do not say it themselves."""


def permission_lines(method: str, path: str, accepted: str | None = None) -> str:
    """Return the `permissions:` lines that a workflow needs for this request.

    Args:
        method: of the request.
        path: of the request.
        accepted: the `X-Accepted-GitHub-Permissions` header: alternatives parted by `;`, needs by `,`.
    """
    level = "read" if method == "GET" else "write"
    needs: list[tuple[str, str]] = []
    if accepted:
        alternatives = [_parse(alternative) for alternative in accepted.split(";")]
        # NOTE: a comment may be written with issues or with pull-requests; name what the docs name.
        needs = next((found for found in alternatives if any("pull" in name for name, _ in found)), alternatives[0])
    if not needs:
        needs = [(name, level) for pattern, name in NEEDS if re.search(pattern, path)][:1] or [("contents", level)]
    return "\n".join(["permissions:", *(f"  {name}: {access}" for name, access in needs)])


def describe_write_error(error: NelActionError) -> str:
    """Return an error's words; where reading was refused first, the lines let writing in as well.

    Whoever writes a comment looks for it first, so the request that is refused asks for less than is needed.
    """
    problem = error.problems[0]
    hint = re.sub(r"(?m)^(  [\w-]+: )read$", r"\1write", problem.hint or "")
    return "\n".join(part for part in (problem.message, hint) if part)


def _parse(alternative: str) -> list[tuple[str, str]]:
    pairs = (part.strip().partition("=") for part in alternative.split(","))
    return [(name.replace("_", "-"), access) for name, _, access in pairs if name and access]
