from __future__ import annotations

import socket

import pytest
from tests.doubles.openai_server import Fault, Model, OpenAIServer

from nel_action.errors import EndpointError, ExitCode
from nel_action.lifecycle import endpoint_check
from nel_action.lifecycle.endpoint_check import check_endpoint
from nel_action.model.task import EndpointType
from nel_action.retry import Backoff
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
def test_valid_endpoint_gets_one_request_of_one_token(kind: str) -> None:
    with OpenAIServer(api_key=KEY) as server:
        api = ApiEndpoint(
            url=server.url(kind), model_id=server.model.name, api_key_name="MY_KEY", type=EndpointType(kind)
        )
        check_endpoint(api, {"MY_KEY": KEY})
        assert len(server.requests) == 1
        assert server.requests[0].body["max_tokens"] == 1


def test_rejected_key_names_its_variable() -> None:
    with OpenAIServer(api_key=KEY) as server:
        assert "the key in MY_KEY was rejected" in message(server.url(), key_name="MY_KEY", environ={"MY_KEY": "no"})
        assert "the endpoint requires a key" in message(server.url())


def test_unknown_model_and_wrong_path_have_different_messages() -> None:
    with OpenAIServer() as server:
        assert "does not serve a model 'nobody'" in message(server.url(), model="nobody")
        assert "the path is wrong" in message(server.url().replace("/v1/chat/completions", "/v1/chat"))


def test_unreachable_server_message_states_the_cause() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "connection refused" in message(f"http://127.0.0.1:{port}/v1/chat/completions")
    assert "no such host" in message("http://nowhere.invalid/v1/chat/completions")
    assert "write 127.0.0.1: the gateway" in message("http://host.docker.internal:9/v1/chat/completions")
    assert "this is not a valid URL" in message("models.example/v1/chat/completions")


def test_server_errors_and_malformed_responses_are_rejected() -> None:
    with OpenAIServer(faults=[Fault("error")]) as server:
        assert "the server failed" in message(server.url())
    with OpenAIServer(faults=[Fault("garbage")]) as server:
        assert "not as an OpenAI-compatible endpoint" in message(server.url())
    with OpenAIServer(faults=[Fault("drop")]) as server:
        assert "the connection broke" in message(server.url())


def test_rate_limited_endpoint_is_accepted() -> None:
    with OpenAIServer(faults=[Fault("rate_limit")]) as server:
        check_endpoint(ApiEndpoint(url=server.url(), model_id=server.model.name, type=EndpointType.CHAT), {})


def test_a_target_that_is_loading_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_check, "_BACKOFF", Backoff(initial=0.01, maximum=0.01))
    with OpenAIServer(faults=[Fault("loading", first=1, last=3)]) as server:
        api = ApiEndpoint(url=server.url(), model_id=server.model.name, type=EndpointType.CHAT)
        check_endpoint(api, {}, patience=60)
        assert [request.status for request in server.requests] == [503, 503, 503, 200]
    with OpenAIServer(faults=[Fault("loading")]) as server:
        assert "it is not ready yet; try again later" in message(server.url())
        assert len(server.requests) == 1
