"""The endpoint check: one minimal request to the target, and a specific message for each way it can fail."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from nel_action.errors import EndpointError, Location
from nel_action.model.task import EndpointType, one_token_body
from nel_action.retry import Backoff, parse_retry_after, retry
from nel_action.spec.target import ApiEndpoint

if TYPE_CHECKING:
    import requests

__all__ = ["check_endpoint"]

logger = logging.getLogger(__name__)

_TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and to wait for the first token, since a model may have to be loaded first."""

_TOO_MANY_REQUESTS: Final = 429
_NOT_READY: Final = frozenset({502, 503, 504})
"""Statuses of a server, or of the proxy before it, that does not answer yet."""
_BACKOFF: Final = Backoff(initial=1.0, maximum=10.0)


class _NotReadyError(Exception):
    """The target does not answer yet."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__()
        self.response = response


def check_endpoint(
    api: ApiEndpoint, environ: Mapping[str, str], *, location: Location | None = None, patience: float = 0.0
) -> None:
    """Request one token from the target, and wait while it loads its model.

    Args:
        api: the target's endpoint.
        environ: source of the API key.
        location: source position of the URL in the spec, for the message.
        patience: seconds to wait for a server that answers with the status of one that is not ready yet.

    Raises:
        EndpointError: the target does not answer as an OpenAI-compatible endpoint does; the message contains the
            cause, the hint the fix.
    """
    import requests

    url = api.url or ""
    key = environ.get(api.api_key_name) if api.api_key_name else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = one_token_body(api.model_id, api.type or EndpointType.CHAT)

    announced: list[str] = []

    def ask() -> requests.Response:
        response = requests.post(url, json=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False)
        if response.status_code in _NOT_READY:
            raise _NotReadyError(response)
        return response

    def delay(error: Exception) -> float | None:
        if not isinstance(error, _NotReadyError):
            return None
        level = logging.DEBUG if announced else logging.WARNING
        announced.append(url)
        status = error.response.status_code
        logger.log(level, "%s is not ready (status %d); waiting up to %.0f s", url, status, patience)
        return parse_retry_after(error.response.headers.get("Retry-After")) or 0.0

    try:
        response = retry(ask, delay=delay, deadline=time.monotonic() + patience, backoff=_BACKOFF)
    except _NotReadyError as error:
        response = error.response
    except requests.RequestException as error:
        reason, hint = _connection_problem(error)
        raise _error(url, reason, hint, location) from None
    logger.debug("endpoint check: POST %s: status %d", url, response.status_code)
    if response.status_code == _TOO_MANY_REQUESTS:
        return  # the endpoint exists and accepts the key; harnesses retry
    if response.status_code != requests.codes.ok:
        raise _error(url, *_status_problem(response, api), location)
    if not _has_expected_form(response, api):
        hint = "the server answers, but not as an OpenAI-compatible endpoint; check the path in target.api_endpoint.url"
        raise _error(url, "the response lacks the expected fields", hint, location)


def _has_expected_form(response: requests.Response, api: ApiEndpoint) -> bool:
    try:
        data = response.json()
    except ValueError:
        return False
    field = "data" if api.type is EndpointType.EMBEDDING else "choices"
    return isinstance(data, dict) and isinstance(data.get(field), list) and bool(data[field])


def _connection_problem(error: requests.RequestException) -> tuple[str, str]:
    """Return the cause and the fix of a request that got no response."""
    import requests

    text = str(error)
    if isinstance(error, requests.exceptions.MissingSchema | requests.exceptions.InvalidURL):
        return "this is not a valid URL", "write the complete URL, with https:// (target.api_endpoint.url)"
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "the certificate was rejected",
            "check the host name, or set REQUESTS_CA_BUNDLE to the certificates of your own authority",
        )
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection within 10 s", "check the host, the port, and firewalls and proxies in between"
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "connected, but no response within 60 s", "the server may still be loading the model; try again later"
    if "host.docker.internal" in text and "NameResolutionError" in text:
        return (
            "there is no such host outside of containers",
            "write 127.0.0.1: the gateway of this machine forwards requests of containers (target.api_endpoint.url)",
        )
    if "NameResolutionError" in text or "Name or service not known" in text:
        return "there is no such host", "check the spelling of target.api_endpoint.url"
    if "Connection refused" in text:
        return "connection refused", "no server is listening there; check that it is running, and its port"
    return "the connection broke", "check the server's log"


def _status_problem(response: requests.Response, api: ApiEndpoint) -> tuple[str, str]:
    """Return the cause and the fix of a response with an error status."""
    code = response.status_code
    name = api.api_key_name
    if code == 401:  # noqa: PLR2004 - status codes are their own names
        if not name:
            return f"{code}", "the endpoint requires a key: name its variable in target.api_endpoint.api_key_name"
        return f"{code}", f"the key in {name} was rejected; check the secret, or target.api_endpoint.api_key_name"
    if code == 403:  # noqa: PLR2004
        return f"{code}", f"the key in {name or 'no variable'} may not use {api.model_id}; check its permissions"
    if code == 404 and api.model_id and (api.model_id in response.text or "model" in response.text.lower()):  # noqa: PLR2004
        return f"{code}", f"it does not serve a model '{api.model_id}'; check target.api_endpoint.model_id"
    if code in {404, 405}:
        return f"{code}", "the path is wrong: a chat endpoint ends in /v1/chat/completions"
    if 300 <= code < 400:  # noqa: PLR2004
        return f"{code}, a redirect", "write the address it redirects to; a key is not sent to another address"
    if code >= 500:  # noqa: PLR2004
        not_ready = "it is not ready yet; try again later, or raise execution.endpoint_readiness_timeout"
        return f"{code}", not_ready if code in _NOT_READY else "the server failed; check its log and try again"
    return (
        f"{code}",
        f"the server did not accept a {api.type or 'chat'} request; check the path and the type of the model",
    )


def _error(url: str, reason: str, hint: str, location: Location | None) -> EndpointError:
    return EndpointError(f"cannot use the target {url}: {reason}", hint=hint, location=location)
