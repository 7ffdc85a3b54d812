"""One tiny request to the target before anything is spent, and a sentence for each way it can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EndpointError, Location, Problem
from nel_action.model.task import EndpointType
from nel_action.spec.target import ApiEndpoint

if TYPE_CHECKING:
    import requests

__all__ = ["check_endpoint"]

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and to wait for the first token of a cold model."""

TOO_MANY: Final = 429


def check_endpoint(api: ApiEndpoint, environ: Mapping[str, str], *, place: Location | None = None) -> None:
    """Ask the target for one token.

    Raises:
        EndpointError: it did not answer as an OpenAI-compatible endpoint would; the message says why and what to do.
    """
    import requests

    url = api.url or ""
    key = environ.get(api.api_key_name) if api.api_key_name else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = requests.post(url, json=_body(api), headers=headers, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        reason, hint = _why_unreachable(error)
        raise _error(url, reason, hint, place) from None
    if answer.status_code == TOO_MANY:
        return  # it is there and knows us; harnesses wait and retry
    if answer.status_code != requests.codes.ok:
        raise _error(url, *_why_refused(answer, api), place)
    if not _looks_right(answer, api):
        hint = (
            "the address answers, but not as an OpenAI-compatible endpoint; check the path of target.api_endpoint.url"
        )
        raise _error(url, "an answer without what was asked for", hint, place)


def _body(api: ApiEndpoint) -> dict[str, Any]:
    """Return the smallest request of that kind."""
    match api.type or EndpointType.CHAT:
        case EndpointType.CHAT | EndpointType.VLM:
            return {"model": api.model_id, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        case EndpointType.COMPLETIONS | EndpointType.COMPLETIONS_LOGPROBS:
            return {"model": api.model_id, "prompt": "Hi", "max_tokens": 1}
        case EndpointType.EMBEDDING:
            return {"model": api.model_id, "input": "Hi"}


def _looks_right(answer: requests.Response, api: ApiEndpoint) -> bool:
    try:
        data = answer.json()
    except ValueError:
        return False
    wanted = "data" if api.type is EndpointType.EMBEDDING else "choices"
    return isinstance(data, dict) and isinstance(data.get(wanted), list) and bool(data[wanted])


def _why_unreachable(error: requests.RequestException) -> tuple[str, str]:
    import requests

    text = str(error)
    if isinstance(error, requests.exceptions.MissingSchema | requests.exceptions.InvalidURL):
        return "this is no URL", "give the whole URL, with https:// (target.api_endpoint.url)"
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "the certificate was not accepted",
            "check the host name, or point REQUESTS_CA_BUNDLE to your own authority",
        )
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection within 10 s", "check the host, the port and what stands between"
    if isinstance(error, requests.exceptions.ReadTimeout):
        return (
            "connected, but no answer within 60 s",
            "the server may still be loading its model; try again when it is ready",
        )
    if "NameResolutionError" in text or "Name or service not known" in text:
        return "there is no such host", "check the spelling of target.api_endpoint.url"
    if "Connection refused" in text:
        return "connection refused", "nothing listens there; is the server up, and is the port right?"
    return "the connection broke", "check the server's log"


def _why_refused(answer: requests.Response, api: ApiEndpoint) -> tuple[str, str]:
    """Say what an error status means for whoever wrote the spec."""
    code = answer.status_code
    name = api.api_key_name
    if code == 401:  # noqa: PLR2004 - status codes are their own names
        if not name:
            return f"{code}", "it wants a key: name the variable that holds it in target.api_endpoint.api_key_name"
        return f"{code}", f"the key in {name} was refused; check the secret, or target.api_endpoint.api_key_name"
    if code == 403:  # noqa: PLR2004
        return f"{code}", f"the key in {name or 'no variable'} may not use {api.model_id}; check its rights"
    if code == 404 and api.model_id and (api.model_id in answer.text or "model" in answer.text.lower()):  # noqa: PLR2004
        return f"{code}", f"it does not serve a model '{api.model_id}'; check target.api_endpoint.model_id"
    if code in {404, 405}:
        return f"{code}", "the path is wrong: a chat endpoint ends in /v1/chat/completions"
    if 300 <= code < 400:  # noqa: PLR2004
        return f"{code}, a redirect", "give the address that it leads to; a key is not sent after a redirect"
    if code >= 500:  # noqa: PLR2004
        return f"{code}", "the server failed; see its log, and try again"
    return (
        f"{code}",
        f"the server did not understand a {api.type or 'chat'} request; check the path and the model's kind",
    )


def _error(url: str, reason: str, hint: str, place: Location | None) -> EndpointError:
    error = EndpointError(f"cannot use the target: {reason} from {url}")
    error.problems = (Problem(error.problems[0].message, place, hint),)
    return error
