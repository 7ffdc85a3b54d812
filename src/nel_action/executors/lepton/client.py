"""The workspace, by the SDK: each call bounded in time, tried again where that is safe, and its failures told apart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nel_action.errors import EngineError, ExecutorError, UnreachableError

if TYPE_CHECKING:
    import requests
    from leptonai.api.v2.client import APIClient

__all__ = ["Cloud", "ForbiddenError", "MissingError", "TokenError"]

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""

PATIENCE: Final = 60.0
"""Seconds that a call is tried again for, in all."""

PAGE: Final = 500
"""Jobs in one answer; the platform's own limit."""

MOST_PAGES: Final = 200

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY, SERVER = 401, 403, 404, 429, 500

Answer = TypeVar("Answer")


class TokenError(EngineError):
    """The workspace's token was refused: it is wrong, or has expired."""


class ForbiddenError(EngineError):
    """The token is known, and may not do this."""


class MissingError(ExecutorError):
    """There is no such thing in the workspace."""


@dataclass
class Cloud:
    """One workspace. The SDK takes more than a second to load, and is loaded at the first call."""

    environ: Mapping[str, str]
    sleep: Callable[[float], None] = field(default=time.sleep)

    @cached_property
    def client(self) -> APIClient:
        """The SDK's client.

        Raises:
            EngineError: the SDK is not installed, or nothing says which workspace, or with which token.
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
            token = _recorded_token(workspace)
        try:
            return APIClient(workspace, token, url, origin)
        except (WorkspaceError, TypeError, RuntimeError) as error:
            msg = f"no Lepton workspace to use: {_line(str(error))}"
            raise EngineError(msg, hint=LOGIN) from error

    def reopen(self) -> None:
        """Forget the client, so that a token that was renewed meanwhile is read."""
        if "client" in self.__dict__:
            self.close()
            del self.__dict__["client"]

    @property
    def dashboard(self) -> str:
        """Address of the workspace's pages."""
        return str(self.client.get_dashboard_base_url())

    def call(self, what: str, function: Callable[[], Answer], *, again: bool = True) -> Answer:
        """Do one thing, and again where the platform could not, as long as patience lasts.

        Args:
            what: for messages (`list jobs`).
            function: does it.
            again: whether doing it twice does no harm.

        Raises:
            TokenError, ForbiddenError, MissingError: as the platform says.
            ExecutorError: it refuses the request.
            UnreachableError: it does not answer, or asks to come back later than patience lasts.
        """
        deadline, pause = time.monotonic() + PATIENCE, 0.5
        while True:
            trouble, wait = self._try(what, function)
            if not isinstance(trouble, UnreachableError) or isinstance(trouble, EngineError):
                if isinstance(trouble, BaseException):
                    raise trouble
                return trouble
            wait = max(wait or 0.0, pause)
            if not again or time.monotonic() + wait > deadline:
                raise trouble
            self.sleep(wait)
            pause = min(pause * 2, 10)

    def _try(
        self, what: str, function: Callable[[], Answer]
    ) -> tuple[Answer | UnreachableError | ExecutorError, float | None]:
        import requests
        from leptonai.api.v2.utils import WorkspaceError

        try:
            return function(), None
        except requests.RequestException as error:
            return UnreachableError(f"Lepton does not answer: cannot {what}: {_why(error)}", hint=LATER), None
        except WorkspaceError as error:
            return _told(what, _status_of_workspace(error), str(error)), None
        except RuntimeError as error:
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
            after = getattr(error, "retry_after", None) or _retry_after(response)
            if status is None:
                return ExecutorError(f"cannot {what}: {_line(str(error))}"), None
            return _told(what, int(status), _body(response, str(error))), after
        except ValueError as error:
            # NOTE: an answer that was cut off, or that comes from something in between, is no JSON.
            return UnreachableError(f"Lepton's answer makes no sense: cannot {what}: {_line(str(error))}"), None

    def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        again: bool = True,
        **options: Any,  # noqa: ANN401 - of requests
    ) -> Any:  # noqa: ANN401 - JSON
        """Send one request by the SDK's session and return the answer's JSON, or None where there is none.

        Raises:
            NelActionError: as `call`.
        """

        def send() -> Any:  # noqa: ANN401 - JSON
            from leptonai.api.v2.api_resource import ClientError, ServerError

            # NOTE: by hand, since the SDK's types turn every state they do not know into one word, and drop items.
            answer = getattr(self.client, f"_{method}")(path, timeout=TIMEOUT, **options)
            if answer.status_code >= SERVER:
                raise ServerError(answer)
            if answer.status_code >= 400:  # noqa: PLR2004 - status codes are their own names
                raise ClientError(answer)
            return answer.json() if answer.content.strip() else None

        return self.call(what, send, again=again)

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return every job with that in its name, alive or archived: one listing, page by page.

        Raises:
            NelActionError: as `call`.
        """
        found: dict[str, dict[str, Any]] = {}
        for page in range(1, MOST_PAGES + 1):
            params = {"job_query_mode": "alive_and_archive", "q": name, "page": page, "page_size": PAGE}
            answer = self.request("get", "/jobs", what="list jobs", params=params)
            items = answer if isinstance(answer, list) else (answer or {}).get("jobs") or []
            total = None if isinstance(answer, list) else (answer or {}).get("total")
            before = len(found)
            found |= {_id(item): item for item in items if isinstance(item, dict) and _id(item)}
            if not items or len(found) == before or (isinstance(total, int) and len(found) >= total):
                break
        return list(found.values())

    def log_pages(self, job: str, *, start: int, end: int, limit: int = 5000) -> Iterator[list[tuple[int, str]]]:
        """Yield the historical log of a job, page by page, oldest first: moments (ns) and lines, none twice.

        Raises:
            NelActionError: as `call`.
        """
        seen: set[tuple[int, str]] = set()
        for _ in range(10_000):
            page = self.log_page(job, start=start, end=end, limit=limit, direction="forward")
            fresh = [item for item in page if item not in seen]
            if fresh:
                yield fresh
            # NOTE: a short page is not the last one: the service may give less than it is asked for.
            if not fresh or page[-1][0] >= end:
                return
            # NOTE: several lines may have the last moment, and only some of them may be on this page.
            start = page[-1][0]
            seen = {item for item in page if item[0] == start}

    def log_page(self, job: str, *, start: int, end: int, limit: int, direction: str) -> list[tuple[int, str]]:
        """Return one answer of the log's history, oldest first.

        Raises:
            NelActionError: as `call`.
        """

        def ask() -> list[tuple[int, str]]:
            answer = self.client.log.get_log(
                name_or_job=job,
                start=start,
                end=end,
                limit=limit,
                direction=direction,
                timeout=TIMEOUT[1],
            )
            streams = ((answer.get("data") or {}).get("result")) or []
            return sorted((int(at), str(line)) for stream in streams for at, line in stream.get("values") or ())

        return self.call("read a log", ask)

    def close(self) -> None:
        """Hang up."""
        if "client" in self.__dict__:
            self.client._session.close()  # noqa: SLF001 - the SDK has no other way


LOGIN: Final = (
    "set LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN (from the dashboard's credentials page), or run `lep login`"
)
LATER: Final = "nothing is lost; try again when it does"


def _recorded_token(workspace: str | None) -> str:
    """Return the token that `lep login` left.

    Raises:
        EngineError: it left none.
    """
    from leptonai.api.v2.workspace_record import WorkspaceRecord

    record = WorkspaceRecord.current() if workspace is None else None
    if workspace is not None and WorkspaceRecord.has(workspace):
        record = WorkspaceRecord.get(workspace)
    token = getattr(record, "auth_token", None)
    if not token:
        msg = "no token for the Lepton workspace" if workspace or record else "no Lepton workspace to use"
        raise EngineError(msg, hint=LOGIN)
    return str(token)


def _told(what: str, status: int, text: str) -> UnreachableError | ExecutorError:
    """Say what an error status means."""
    text = _line(text)
    if status == UNAUTHORIZED:
        hint = f"{LOGIN}; tokens last a day unless their maker said otherwise"
        return TokenError(f"Lepton refuses the token (401), which is wrong or has expired: {text}", hint=hint)
    if status == FORBIDDEN:
        hint = "ask an administrator of the workspace for the right, or use a token that has it"
        return ForbiddenError(f"the token may not {what} (403): {text}", hint=hint)
    if status == NOT_FOUND:
        return MissingError(f"cannot {what} (404): {text}")
    if status == TOO_MANY:
        return UnreachableError(f"Lepton asks for fewer requests (429): cannot {what}", hint=LATER)
    if status >= SERVER:
        return UnreachableError(f"Lepton failed ({status}): cannot {what}: {text}", hint=LATER)
    return ExecutorError(f"Lepton refuses to {what} ({status}): {text}")


def _status_of_workspace(error: Exception) -> int:
    words = {"WorkspaceUnauthorizedError": UNAUTHORIZED, "WorkspaceForbiddenError": FORBIDDEN}
    return words.get(type(error).__name__, NOT_FOUND)


def _retry_after(response: requests.Response | None) -> float | None:
    text = response.headers.get("Retry-After", "") if response is not None else ""
    return float(text) if text.isdigit() else None


def _body(response: requests.Response | None, otherwise: str) -> str:
    """Return what the platform says, without the wrapping."""
    try:
        data = response.json() if response is not None else None
    except ValueError:
        data = None
    told = data.get("message") if isinstance(data, dict) else None
    return str(told or (response.text if response is not None else otherwise))


def _why(error: requests.RequestException) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate was not accepted"
    text = str(error)
    if "NameResolutionError" in text or "Name or service not known" in text:
        return "there is no such host"
    return "connection refused" if "Connection refused" in text else "the connection broke"


def _line(text: str) -> str:
    return " ".join(text.split())[:400]


def _id(item: Mapping[str, Any]) -> str:
    metadata = item.get("metadata") or {}
    return str(metadata.get("id") or metadata.get("name") or "")


def quiet(environ: Mapping[str, str] = os.environ) -> bool:
    """Keep the SDK's own logger out of our output, unless somebody wants it."""
    if environ.get("LEPTON_DEBUG"):
        return False
    from loguru import logger

    logger.disable("leptonai")
    return True
