"""Client for a Lepton workspace on top of the SDK: requests with time limits, retries and typed errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nel_action.errors import EngineError, ExecutorError, UnreachableError
from nel_action.executors.lepton.jobs import JobRecord
from nel_action.retry import Backoff, parse_retry_after, poll_until, retry

if TYPE_CHECKING:
    import requests
    from leptonai.api.v2.client import APIClient

__all__ = ["ForbiddenError", "LeptonClient", "MissingError", "TokenError"]

logger = logging.getLogger(__name__)

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and to wait for a response."""

RETRY_SECONDS: Final = 60.0
"""Seconds for which a call is retried."""

RETRY_BACKOFF: Final = Backoff(initial=0.5, maximum=10.0)

PAGE_SIZE: Final = 500
"""Jobs per response; the API's own limit."""

MAX_PAGES: Final = 200
MAX_LOG_PAGES: Final = 10_000

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY, SERVER_ERROR = 401, 403, 404, 429, 500

LOGIN_HINT: Final = (
    "set LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN (from the dashboard's credentials page), or run `lep login`"
)
RETRY_HINT: Final = "submitted jobs keep running; retry when the Lepton API responds again"

T = TypeVar("T")


class TokenError(EngineError):
    """The workspace token was rejected: it is invalid or has expired."""


class ForbiddenError(EngineError):
    """The token is valid, but lacks the permission."""


class MissingError(ExecutorError):
    """The workspace has no such object."""


class _TransientError(UnreachableError):
    """A failure that may pass; the call is retried if repeating it is safe."""

    retry_after: float | None = None
    """Seconds that the API asks to wait."""


@dataclass
class LeptonClient:
    """One workspace. The SDK takes more than a second to import, so it is imported by the first call."""

    environ: Mapping[str, str]
    sleep: Callable[[float], object] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)
    """Returns seconds, monotonic."""

    @cached_property
    def sdk(self) -> APIClient:
        """The SDK's client.

        Raises:
            EngineError: the SDK is not installed, or no workspace or token is configured.
        """
        try:
            from leptonai.api.v2.client import APIClient
            from leptonai.api.v2.utils import WorkspaceError
        except ImportError as error:
            msg = "the executor lepton needs the leptonai package"
            raise EngineError(msg, hint="install it with: pip install 'nel-action[lepton]'") from error
        names = ("ID", "TOKEN", "URL", "ORIGIN_URL")
        workspace, token, url, origin = (self.environ.get(f"LEPTON_WORKSPACE_{name}") or None for name in names)
        if not token and not (workspace and ":" in workspace):
            token = _login_token(workspace)
        _disable_sdk_logging(self.environ)
        try:
            return APIClient(workspace, token, url, origin)
        except (WorkspaceError, TypeError, RuntimeError) as error:
            msg = f"no usable Lepton workspace: {_one_line(str(error))}"
            raise EngineError(msg, hint=LOGIN_HINT) from error

    def reset(self) -> None:
        """Discard the SDK's client, so that a renewed token is read."""
        if "sdk" in self.__dict__:
            self.close()
            del self.__dict__["sdk"]

    @property
    def dashboard(self) -> str:
        """Base URL of the workspace's dashboard."""
        return str(self.sdk.get_dashboard_base_url())

    def call(self, operation: str, function: Callable[[APIClient], T], *, idempotent: bool = True) -> T:
        """Call the API through `function`; retry transient failures for up to `RETRY_SECONDS`.

        Args:
            operation: a verb phrase for messages (`list jobs`).
            function: performs the request with the SDK's client.
            idempotent: whether repeating the request is safe; otherwise it is made once.

        Returns:
            The result of `function`.

        Raises:
            TokenError: the token was rejected.
            ForbiddenError: the token lacks the permission.
            MissingError: the object does not exist.
            ExecutorError: the API rejected the request.
            UnreachableError: the API did not respond, or asks for a pause beyond the retry limit.
        """

        def attempt() -> T:
            sdk, started = self.sdk, self.clock()
            try:
                result = _translate_errors(operation, lambda: function(sdk))
            except (UnreachableError, ExecutorError) as error:
                logger.debug("cannot %s (%.2f s): %s", operation, self.clock() - started, error.problems[0].message)
                raise
            logger.debug("%s: ok (%.2f s)", operation, self.clock() - started)
            return result

        return retry(
            attempt,
            delay=_retry_delay,
            tries=None if idempotent else 1,
            deadline=self.clock() + RETRY_SECONDS,
            backoff=RETRY_BACKOFF,
            sleep=self.sleep,
            clock=self.clock,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        idempotent: bool = True,
        **options: Any,  # noqa: ANN401 - of requests
    ) -> Any:  # noqa: ANN401 - JSON
        """Send one request through the SDK's session.

        Args:
            method: lower-case HTTP method.
            path: below the workspace's base URL.
            operation: a verb phrase for messages (`list jobs`).
            idempotent: whether repeating the request is safe.
            **options: further arguments of `requests`.

        Returns:
            The decoded JSON body; None where the body is empty.

        Raises:
            NelActionError: as `call`.
        """

        def send(sdk: APIClient) -> Any:  # noqa: ANN401 - JSON
            from leptonai.api.v2.api_resource import ClientError, ServerError

            # NOTE: not by the SDK's resource methods: their types map unknown states to one value and drop fields.
            response = getattr(sdk, f"_{method}")(path, timeout=TIMEOUT, **options)
            if response.status_code >= SERVER_ERROR:
                raise ServerError(response)
            if response.status_code >= 400:  # noqa: PLR2004 - HTTP client error
                raise ClientError(response)
            return response.json() if response.content.strip() else None

        return self.call(operation, send, idempotent=idempotent)

    def wait_for(self, call: Callable[[], T | None], *, seconds: float, backoff: Backoff) -> T | None:
        """Repeat `call` until it returns something other than None.

        Args:
            call: a query.
            seconds: how long to repeat it.
            backoff: pauses between the calls.

        Returns:
            The result; None where the time has passed.
        """
        return poll_until(call, deadline=self.clock() + seconds, backoff=backoff, sleep=self.sleep, clock=self.clock)

    def list_jobs(self, name: str) -> list[JobRecord]:
        """Return every job whose name contains `name`, active or archived, page by page.

        Raises:
            NelActionError: as `call`.
        """
        jobs: dict[str, JobRecord] = {}
        for page in range(1, MAX_PAGES + 1):
            params = {"job_query_mode": "alive_and_archive", "q": name, "page": page, "page_size": PAGE_SIZE}
            body = self.request("get", "/jobs", operation="list jobs", params=params)
            items = body if isinstance(body, list) else (body or {}).get("jobs") or []
            total = None if isinstance(body, list) else (body or {}).get("total")
            known = len(jobs)
            records = [JobRecord.parse(item) for item in items if isinstance(item, dict)]
            jobs |= {record.id: record for record in records if record.id}
            if not items or len(jobs) == known or (isinstance(total, int) and len(jobs) >= total):
                break
        return list(jobs.values())

    def read_log(self, job_id: str, *, start: int, end: int, limit: int = 5000) -> Iterator[list[tuple[int, str]]]:
        """Yield a job's stored log page by page, oldest line first, without duplicates.

        Args:
            job_id: the platform's id.
            start: first timestamp in nanoseconds since 1970.
            end: last timestamp in nanoseconds since 1970.
            limit: lines per page.

        Yields:
            Pairs of timestamp (ns) and line.

        Raises:
            NelActionError: as `call`.
        """
        known: set[tuple[int, str]] = set()
        for _ in range(MAX_LOG_PAGES):
            page = self.read_log_page(job_id, start=start, end=end, limit=limit, direction="forward")
            new = [entry for entry in page if entry not in known]
            if new:
                yield new
            # NOTE: a short page need not be the last: the service may return fewer lines than requested.
            if not new or page[-1][0] >= end:
                return
            # NOTE: several lines may share the last timestamp, and this page may hold only some of them.
            start = page[-1][0]
            known = {entry for entry in page if entry[0] == start}

    def read_log_page(self, job_id: str, *, start: int, end: int, limit: int, direction: str) -> list[tuple[int, str]]:
        """Return one page of a job's stored log, oldest line first.

        Args:
            job_id: the platform's id.
            start: first timestamp in nanoseconds since 1970.
            end: last timestamp in nanoseconds since 1970.
            limit: largest number of lines.
            direction: `forward` for the oldest lines, `backward` for the newest.

        Returns:
            Pairs of timestamp (ns) and line.

        Raises:
            NelActionError: as `call`.
        """

        def query(sdk: APIClient) -> list[tuple[int, str]]:
            body = sdk.log.get_log(
                name_or_job=job_id,
                start=start,
                end=end,
                limit=limit,
                direction=direction,
                timeout=TIMEOUT[1],
            )
            streams = ((body.get("data") or {}).get("result")) or []
            return sorted((int(moment), str(line)) for stream in streams for moment, line in stream.get("values") or ())

        return self.call("read a log", query)

    def close(self) -> None:
        """Close the connections."""
        if "sdk" in self.__dict__:
            self.sdk._session.close()  # noqa: SLF001 - the SDK has no public method


def _login_token(workspace: str | None) -> str:
    """Return the token that `lep login` stored.

    Raises:
        EngineError: it stored none.
    """
    from leptonai.api.v2.workspace_record import WorkspaceRecord

    record = WorkspaceRecord.current() if workspace is None else None
    if workspace is not None and WorkspaceRecord.has(workspace):
        record = WorkspaceRecord.get(workspace)
    token = getattr(record, "auth_token", None)
    if not token:
        msg = "no token for the Lepton workspace" if workspace or record else "no Lepton workspace is configured"
        raise EngineError(msg, hint=LOGIN_HINT)
    return str(token)


def _retry_delay(error: Exception) -> float | None:
    """Return the least pause before a retry, in seconds, or None for an error that does not pass."""
    return (error.retry_after or 0.0) if isinstance(error, _TransientError) else None


def _translate_errors(operation: str, function: Callable[[], T]) -> T:
    """Call `function` and raise the SDK's errors as the project's.

    Raises:
        UnreachableError: as `_status_error`, or no response was received.
        ExecutorError: as `_status_error`, or the SDK failed before it sent a request.
    """
    import requests
    from leptonai.api.v2.utils import WorkspaceError

    try:
        return function()
    except requests.RequestException as error:
        msg = f"Lepton did not respond: cannot {operation}: {_connection_problem(error)}"
        raise _TransientError(msg, hint=RETRY_HINT) from error
    except WorkspaceError as error:
        raise _status_error(operation, _workspace_error_status(error), str(error)) from error
    except RuntimeError as error:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
        if status is None:
            msg = f"cannot {operation}: {_one_line(str(error))}"
            raise ExecutorError(msg) from error
        header = response.headers.get("Retry-After") if response is not None else None
        retry_after = getattr(error, "retry_after", None) or parse_retry_after(header)
        raise _status_error(operation, int(status), _error_message(response, str(error)), retry_after) from error
    except ValueError as error:
        # NOTE: a truncated response, or one from a proxy, is not JSON.
        msg = f"Lepton returned an unreadable response: cannot {operation}: {_one_line(str(error))}"
        raise _TransientError(msg, hint=RETRY_HINT) from error


def _status_error(
    operation: str, status: int, message: str, retry_after: float | None = None
) -> UnreachableError | ExecutorError:
    """Return the error that an HTTP status means.

    Args:
        operation: a verb phrase for messages.
        status: the HTTP status.
        message: the API's explanation.
        retry_after: seconds that the API asks to wait.
    """
    message = _one_line(message)
    if status == UNAUTHORIZED:
        hint = f"{LOGIN_HINT}; tokens expire after a day unless created with another lifetime"
        return TokenError(f"Lepton rejected the token (401), which is invalid or has expired: {message}", hint=hint)
    if status == FORBIDDEN:
        hint = "ask an administrator of the workspace for the permission, or use another token"
        return ForbiddenError(f"the token lacks the permission to {operation} (403): {message}", hint=hint)
    if status == NOT_FOUND:
        return MissingError(f"cannot {operation} (404): {message}")
    if status == TOO_MANY:
        error = _TransientError(f"Lepton limits the request rate (429): cannot {operation}", hint=RETRY_HINT)
        error.retry_after = retry_after
        return error
    if status >= SERVER_ERROR:
        error = _TransientError(f"Lepton failed ({status}): cannot {operation}: {message}", hint=RETRY_HINT)
        error.retry_after = retry_after
        return error
    return ExecutorError(f"Lepton rejected the request to {operation} ({status}): {message}")


def _workspace_error_status(error: Exception) -> int:
    statuses = {"WorkspaceUnauthorizedError": UNAUTHORIZED, "WorkspaceForbiddenError": FORBIDDEN}
    return statuses.get(type(error).__name__, NOT_FOUND)


def _error_message(response: requests.Response | None, default: str) -> str:
    """Return the `message` of an error body, or the body itself."""
    try:
        body = response.json() if response is not None else None
    except ValueError:
        body = None
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or (response.text if response is not None else default))


def _connection_problem(error: requests.RequestException) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was rejected"
    text = str(error)
    if "NameResolutionError" in text or "Name or service not known" in text:
        return "unknown host"
    return "connection refused" if "Connection refused" in text else "the connection was lost"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]


def _disable_sdk_logging(environ: Mapping[str, str]) -> None:
    """Keep the SDK's own log messages out of the output, unless `LEPTON_DEBUG` is set."""
    if not environ.get("LEPTON_DEBUG"):
        from loguru import logger as sdk_logger

        sdk_logger.disable("leptonai")
