"""Client of the GitHub REST API with GitHub's rules for retries and rate limits.

- A rate limit is waited for as `rate_limits` describes, but never longer than the caller allows.
- After a lost connection or 5xx, an idempotent request is repeated. A POST is not, because the first one may have been
  carried out; callers that create an object look it up before they try again (`sticky`, `check`).
- From the eleventh write within a minute on, writes are one second apart: fewer than 80 a minute.

Sources: GitHub Docs, "Rate limits for the REST API" and "Best practices for using the REST API".
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nel_action.github.errors import GitHubError, MissingError, UnavailableError
from nel_action.github.rate_limits import Clock, error_of, retry_delay
from nel_action.retry import Backoff, retry
from nel_action.version import __version__

if TYPE_CHECKING:
    import requests

__all__ = ["GitHubApi"]

TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and between two bytes of the answer."""
WRITE_INTERVAL: Final = 1.0
"""Seconds between writes once `WRITE_BURST` is used up."""
WRITE_BURST: Final = 10
"""Writes within a minute that need no interval."""
MINUTE: Final = 60.0
"""Seconds."""
TRIES: Final = 5
BACKOFF: Final = Backoff(initial=1.0, factor=2.0, maximum=16.0, jitter=0.0)
PAGE_SIZE: Final = 100
MAX_PAGES: Final = 100

Json = Any
logger = logging.getLogger(__name__)


class GitHubApi:
    """A session with one server and one token."""

    def __init__(self, url: str, token: str, *, max_wait: float = 180.0, clock: Clock | None = None) -> None:
        """Create a session; no request is sent yet.

        Args:
            url: base URL of the API.
            token: sent to that server only; empty for anonymous requests.
            max_wait: seconds that one request may take, including all its waits.
            clock: source of time; the system clock by default.
        """
        import requests

        self.url = url.rstrip("/")
        self.max_wait = max_wait
        self.clock = clock or Clock()
        self._writes: deque[float] = deque(maxlen=WRITE_BURST)
        self._session = requests.Session()
        self._session.headers.update(
            {
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": f"nel-action/{__version__}",
                **({"Authorization": f"Bearer {token}"} if token else {}),
            }
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, **params: str | int) -> Json:
        """Send a GET request and return the JSON answer."""
        return self.request("GET", path, params=params).json()

    def post(self, path: str, body: Mapping[str, Json], *, idempotent: bool = False) -> Json:
        """Send a POST request and return the JSON answer.

        Args:
            path: below the API's address.
            body: JSON.
            idempotent: whether the request may be repeated after a server error.
        """
        return self.request("POST", path, body=body, idempotent=idempotent).json()

    def patch(self, path: str, body: Mapping[str, Json], *, max_wait: float | None = None) -> Json:
        """Send a PATCH request and return the JSON answer.

        Args:
            path: below the API's address.
            body: JSON.
            max_wait: longest wait for a rate limit, in seconds; None for the default.
        """
        return self.request("PATCH", path, body=body, max_wait=max_wait).json()

    def delete(self, path: str) -> None:
        """Send a DELETE request; an object that does not exist is no error."""
        try:
            self.request("DELETE", path)
        except MissingError:
            return

    def paginate(self, path: str, key: str | None = None, **params: str | int) -> Iterator[Json]:
        """Yield the entries of all pages of a listing, at most 10,000.

        Args:
            path: path of the listing.
            key: name of the list within each answer; None if the answer is the list.
            params: query parameters.
        """
        url, query = path, {"per_page": PAGE_SIZE, **params}
        for _ in range(MAX_PAGES):
            response = self.request("GET", url, params=query)
            page = response.json()
            yield from page[key] if key else page
            url, query = response.links.get("next", {}).get("url", ""), {}
            if not url:
                return

    def download(self, path: str, *, limit: int) -> bytes:
        """Download a file, following the redirect to GitHub's storage.

        Args:
            path: path of the file.
            limit: largest accepted size in bytes.

        Raises:
            GitHubError: the file cannot be downloaded or is larger than `limit`.
        """
        response = self.request("GET", path, stream=True)
        data = b""
        with response:
            for chunk in response.iter_content(65536):
                data += chunk
                if len(data) > limit:
                    msg = f"download refused: {path} is larger than {limit} bytes"
                    raise GitHubError(msg)
        return data

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Json] | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        stream: bool = False,
        max_wait: float | None = None,
    ) -> requests.Response:
        """Send a request, with retries, and return an answer of 2xx.

        Args:
            method: HTTP method.
            path: path below the API's URL, or a complete URL on the same server.
            body: JSON body.
            params: query parameters.
            headers: further headers.
            idempotent: whether the request may be carried out twice; by default all but POST.
            stream: leave the body unread and follow redirects.
            max_wait: seconds that this request may take, including all its waits; `self.max_wait` by default.

        Raises:
            GitHubError: see `github.errors`.
        """
        url = self._url(path)
        numbers = count(1)

        def send() -> requests.Response:
            self._pace(method)
            response = self._send(
                method, url, json=body, params=params, headers=headers, stream=stream, allow_redirects=stream
            )
            number = next(numbers)
            logger.debug("%s %s: %d (try %d)", method, path, response.status_code, number)
            if response.ok:
                return response
            raise error_of(method, path, response, number=number, now=self.clock.now())

        def sleep(seconds: float) -> None:
            logger.info("%s %s: next try in %.0f s", method, path, seconds)
            self.clock.sleep(seconds)

        return retry(
            send,
            delay=partial(retry_delay, idempotent=method != "POST" if idempotent is None else idempotent),
            tries=TRIES,
            deadline=self.clock.monotonic() + (self.max_wait if max_wait is None else max_wait),
            backoff=BACKOFF,
            sleep=sleep,
            clock=self.clock.monotonic,
        )

    def _url(self, path: str) -> str:
        """Return the complete URL; one on another server is refused, since it would receive the token."""
        if path.startswith("/"):
            return self.url + path
        if urlsplit(path)[:2] != urlsplit(self.url)[:2]:
            msg = f"next page refused: {urlsplit(path).netloc} is another server than {urlsplit(self.url).netloc}"
            raise GitHubError(msg)
        return path

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - of requests
        import requests

        try:
            return self._session.request(method, url, timeout=TIMEOUT, **options)
        except (requests.ConnectionError, requests.Timeout) as error:
            logger.debug("%s %s: %s", method, urlsplit(url).path, type(error).__name__)
            msg = f"no answer from GitHub to {method} {urlsplit(url).path}: {error}"
            raise UnavailableError(msg) from error
        except requests.RequestException as error:
            msg = f"request could not be sent: {method} {url}: {error}"
            raise GitHubError(msg) from error

    def _pace(self, method: str) -> None:
        """Wait until a write keeps to the interval between writes."""
        if method == "GET":
            return
        now = self.clock.monotonic()
        burst_used = len(self._writes) == WRITE_BURST and now - self._writes[0] < MINUTE
        if burst_used and (wait := self._writes[-1] + WRITE_INTERVAL - now) > 0:
            self.clock.sleep(wait)
        self._writes.append(self.clock.monotonic())
