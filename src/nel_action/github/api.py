"""The GitHub REST client: few verbs, every documented rule about trying again.

- `Retry-After`, else `x-ratelimit-reset` where nothing remains, else at least a minute, doubling, for
  secondary limits; never longer than the caller may wait.
- Requests that may be repeated are repeated after a lost connection and 5xx; a POST is not, because the
  first one may have arrived: who creates something looks for it again (`comment`, `check`).
- Writes beyond a handful are a second apart, which keeps them under 80 a minute.

Source: GitHub Docs, "Rate limits for the REST API" and "Best practices for using the REST API".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nel_action.github.errors import GitHubError, MissingError, RateLimitedError, UnavailableError
from nel_action.github.rate_limits import Clock, is_limited, refusal, wait_before_retry
from nel_action.version import __version__

if TYPE_CHECKING:
    import requests

__all__ = ["GitHubApi"]

TIMEOUT: Final = (5.0, 30.0)
"""Seconds to connect, and between two bytes."""
BETWEEN_WRITES: Final = 1.0
"""Seconds."""
MINUTE: Final = 60.0
"""Seconds."""
HANDFUL: Final = 10
"""Writes within a minute that need not be apart."""
TRIES: Final = 5
PAGES: Final = 100
"""Pages that a listing is followed; 10,000 entries of 100 a page."""

Json = Any


class GitHubApi:
    """One token on one server."""

    def __init__(self, url: str, token: str, *, patience: float = 180.0, clock: Clock | None = None) -> None:
        import requests

        self.url = url.rstrip("/")
        self.patience = patience
        """Seconds that one request may take with all its waits."""
        self.clock = clock or Clock()
        self._writes: deque[float] = deque(maxlen=HANDFUL)
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
        """Let go of connections."""
        self._session.close()

    def get(self, path: str, **params: str | int) -> Json:
        """GET one JSON answer."""
        return self.request("GET", path, params=params).json()

    def post(self, path: str, body: Mapping[str, Json], *, repeatable: bool = False) -> Json:
        """POST; repeated after a server's error only where the caller says that twice is as good as once."""
        return self.request("POST", path, body=body, repeatable=repeatable).json()

    def patch(self, path: str, body: Mapping[str, Json], *, patience: float | None = None) -> Json:
        """PATCH."""
        return self.request("PATCH", path, body=body, patience=patience).json()

    def delete(self, path: str) -> None:
        """DELETE; what is not there is deleted."""
        try:
            self.request("DELETE", path)
        except MissingError:
            return

    def pages(self, path: str, key: str | None = None, **params: str | int) -> Iterator[Json]:
        """Follow a listing through all its pages; `key` names the list inside of each answer."""
        url, query = path, {"per_page": 100, **params}
        for _ in range(PAGES):
            response = self.request("GET", url, params=query)
            page = response.json()
            yield from page[key] if key else page
            url, query = response.links.get("next", {}).get("url", ""), {}
            if not url:
                return

    def download(self, path: str, *, limit: int) -> bytes:
        """GET bytes, following GitHub's redirect to its storage; refuse more than `limit` of them."""
        response = self.request("GET", path, stream=True)
        data = b""
        with response:
            for chunk in response.iter_content(65536):
                data += chunk
                if len(data) > limit:
                    msg = f"{path} is larger than {limit} bytes"
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
        repeatable: bool | None = None,
        stream: bool = False,
        patience: float | None = None,
    ) -> requests.Response:
        """Send one request, again where the rules say so, and return an answer of 2xx.

        `patience` is for this request, in seconds; whoever shows progress would rather leave one out than wait.

        Raises:
            GitHubError: see `github.errors`.
        """
        url = self._address(path)
        again = method != "POST" if repeatable is None else repeatable
        until = self.clock.monotonic() + (self.patience if patience is None else patience)
        for number in range(1, TRIES + 1):
            self._pace(method)
            response, fault = self._send(
                method, url, json=body, params=params, headers=headers, stream=stream, allow_redirects=stream
            )
            if response is not None and response.ok:
                return response
            wait = wait_before_retry(response, number, now=self.clock.now(), repeatable=again)
            if wait is None or number == TRIES:
                break
            if self.clock.monotonic() + wait > until:
                if response is not None and is_limited(response):
                    msg = f"GitHub asks to wait {wait:.0f} s before {method} {path}"
                    raise RateLimitedError(msg, hint="a rate limit is used up; it recovers by itself")
                break
            self.clock.sleep(wait)
        raise (
            UnavailableError(f"GitHub does not answer {method} {path}: {fault}")
            if response is None
            else refusal(method, path, response)
        )

    def _address(self, path: str) -> str:
        """Return the whole address; the token goes to this server only."""
        if path.startswith("/"):
            return self.url + path
        if urlsplit(path)[:2] != urlsplit(self.url)[:2]:
            msg = f"GitHub points to another server for its next page: {urlsplit(path).netloc}"
            raise GitHubError(msg)
        return path

    def _send(self, method: str, url: str, **options: Any) -> tuple[requests.Response | None, Exception | None]:  # noqa: ANN401
        import requests

        try:
            return self._session.request(method, url, timeout=TIMEOUT, **options), None
        except (requests.ConnectionError, requests.Timeout) as error:
            return None, error
        except requests.RequestException as error:
            msg = f"{method} {url} could not be sent: {error}"
            raise GitHubError(msg) from error

    def _pace(self, method: str) -> None:
        """Keep writes apart."""
        if method == "GET":
            return
        now = self.clock.monotonic()
        many = len(self._writes) == HANDFUL and now - self._writes[0] < MINUTE
        if many and (wait := self._writes[-1] + BETWEEN_WRITES - now) > 0:
            self.clock.sleep(wait)
        self._writes.append(self.clock.monotonic())
