"""One tiny request, and a sentence of its own for each way that it goes wrong."""

from __future__ import annotations

import socket

import pytest
from tests.doubles.openai_server import Fault, Model, OpenAIServer

from nel_action.errors import EndpointError, ExitCode
from nel_action.lifecycle.endpoint_check import check_endpoint
from nel_action.model.task import EndpointType
from nel_action.spec.target import ApiEndpoint

KEY = "sk-made-up"


def message(url: str, *, model: str = "", key_name: str | None = None, environ: dict[str, str] | None = None) -> str:
    api = ApiEndpoint(url=url, model_id=model or Model().name, api_key_name=key_name, type=EndpointType.CHAT)
    with pytest.raises(EndpointError) as caught:
        check_endpoint(api, environ or {})
    assert caught.value.exit_code is ExitCode.UNMEASURABLE
    assert KEY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_a_good_endpoint_passes_with_one_request_of_one_token(kind: str) -> None:
    with OpenAIServer(api_key=KEY) as server:
        api = ApiEndpoint(
            url=server.url(kind), model_id=server.model.name, api_key_name="MY_KEY", type=EndpointType(kind)
        )
        check_endpoint(api, {"MY_KEY": KEY})
        assert len(server.requests) == 1
        assert server.requests[0].body["max_tokens"] == 1


def test_refused_keys_name_their_variable() -> None:
    with OpenAIServer(api_key=KEY) as server:
        assert "the key in MY_KEY was refused" in message(server.url(), key_name="MY_KEY", environ={"MY_KEY": "no"})
        assert "it wants a key" in message(server.url())


def test_another_model_and_a_wrong_path_are_told_apart() -> None:
    with OpenAIServer() as server:
        assert "does not serve a model 'nobody'" in message(server.url(), model="nobody")
        assert "the path is wrong" in message(server.url().replace("/v1/chat/completions", "/v1/chat"))


def test_nothing_there_is_said_as_such() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "connection refused" in message(f"http://127.0.0.1:{port}/v1/chat/completions")
    assert "no such host" in message("http://nowhere.invalid/v1/chat/completions")
    assert "this is no URL" in message("models.example/v1/chat/completions")


def test_a_server_that_fails_or_babbles_is_not_a_target() -> None:
    with OpenAIServer(faults=[Fault("error")]) as server:
        assert "the server failed" in message(server.url())
    with OpenAIServer(faults=[Fault("garbage")]) as server:
        assert "not as an OpenAI-compatible endpoint" in message(server.url())
    with OpenAIServer(faults=[Fault("drop")]) as server:
        assert "the connection broke" in message(server.url())


def test_a_busy_server_is_there() -> None:
    with OpenAIServer(faults=[Fault("rate_limit")]) as server:
        check_endpoint(ApiEndpoint(url=server.url(), model_id=server.model.name, type=EndpointType.CHAT), {})
