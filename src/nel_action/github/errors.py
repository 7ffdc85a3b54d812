"""Errors of the GitHub API, and the `permissions:` lines that would allow a refused request.

GitHubError
├── PermissionRefusedError   the token lacks a permission
├── MissingError             404: absent, or invisible to this token
├── RefusedError             GitHub rejected the content of the request (422, 409, …)
├── RateLimitedError         a rate limit lasts longer than the request may wait
└── UnavailableError         no answer, or 5xx after the last try
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
    """A request to GitHub failed; that has no effect on any verdict."""


class PermissionRefusedError(GitHubError):
    """The token lacks a permission; the hint contains the lines to add to the workflow."""


class MissingError(GitHubError):
    """404: the object does not exist, or this token cannot see it."""


class RefusedError(GitHubError):
    """GitHub rejected the content of the request."""

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RateLimitedError(GitHubError):
    """A rate limit was exceeded."""

    def __init__(self, message: str, *, retry_after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds until the request may be repeated."""


class UnavailableError(GitHubError):
    """No answer, or a server error after the last try."""


_PERMISSIONS: Final = (
    (r"/issues/(\d+/)?comments", "pull-requests"),
    (r"/check-(runs|suites)", "checks"),
    (r"/(git|contents|branches)/", "contents"),
    (r"/issues", "issues"),
    (r"/pulls", "pull-requests"),
    (r"/actions/", "actions"),
    (r"/commits/[^/]+/pulls", "pull-requests"),
)
"""Pattern of a path and its permission, for servers that do not name the permission themselves."""


def permission_lines(method: str, path: str, accepted: str | None = None) -> str:
    """Return the `permissions:` lines that a workflow needs for a request.

    Args:
        method: HTTP method of the request.
        path: path of the request.
        accepted: value of the `X-Accepted-GitHub-Permissions` header: alternatives separated by `;`, the permissions
            of one alternative by `,`.
    """
    level = "read" if method == "GET" else "write"
    permissions: list[tuple[str, str]] = []
    if accepted:
        alternatives = [_parse(alternative) for alternative in accepted.split(";")]
        # NOTE: comments accept the permission for issues or for pull requests; docs/actions.md asks for the latter.
        permissions = next(
            (pairs for pairs in alternatives if any("pull" in name for name, _ in pairs)), alternatives[0]
        )
    if not permissions:
        matches = [(name, level) for pattern, name in _PERMISSIONS if re.search(pattern, path)]
        permissions = matches[:1] or [("contents", level)]
    return "\n".join(["permissions:", *(f"  {name}: {access}" for name, access in permissions)])


def describe_write_error(error: NelActionError) -> str:
    """Return the message and hint of an error that prevented a write.

    A comment or check is looked up before it is written, so the refused request may have been a read. The hint then
    asks for read access only; this function replaces it by write access.
    """
    problem = error.problems[0]
    hint = re.sub(r"(?m)^(  [\w-]+: )read$", r"\1write", problem.hint or "")
    return "\n".join(part for part in (problem.message, hint) if part)


def _parse(alternative: str) -> list[tuple[str, str]]:
    """Parse `name=access` pairs separated by commas."""
    pairs = (part.strip().partition("=") for part in alternative.split(","))
    return [(name.replace("_", "-"), access) for name, _, access in pairs if name and access]
