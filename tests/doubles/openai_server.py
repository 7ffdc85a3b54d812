"""A deterministic OpenAI-compatible server on the loopback interface, with a chosen accuracy and injectable faults.

    with OpenAIServer(Model(accuracy=0.75), faults=[Fault("error", first=11)]) as server:
        ...  # server.url("chat"), server.requests

Whether an item is answered correctly depends on its question only, so that all runs agree in any order of requests.
Requests are validated as by a real server: a wrong key is 401, another model 404, a malformed body 400. Tokens are
bytes, and the routes of vLLM's tokenizer exist, so that loglikelihood tasks work too.

    python -m tests.doubles.openai_server --port 8000 --accuracy 0.75 --fault error:11-20
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

from tests.doubles.openai_model import BadRequestError, Model

__all__ = ["Fault", "Model", "OpenAIServer", "RecordedRequest"]

Kind = Literal["error", "slow", "drop", "malformed", "rate_limit", "empty", "garbage", "unauthorized", "loading"]
ROUTES: Final = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
STATUS: Final = {"error": 500, "loading": 503, "rate_limit": 429, "unauthorized": 401}


@dataclass(frozen=True)
class Fault:
    """A fault of some of the requests.

    `error` is a 500, `slow` waits `seconds` first, `drop` closes the connection without an answer, `malformed`
    truncates the JSON, `rate_limit` is a 429 with Retry-After, `empty` answers without text, `garbage` is a 200 whose
    body is not an answer, `unauthorized` is a 401, `loading` a 503.
    """

    kind: Kind
    first: int = 1
    """Number of the first affected request, from 1."""
    last: int | None = None
    """Number of the last affected request; None for no end."""
    tries: int | None = None
    """Requests of each question that are affected; later ones are answered."""
    seconds: float = 1.0
    """Delay of `slow`, and Retry-After of `rate_limit`."""


@dataclass(frozen=True)
class RecordedRequest:
    """One request and the status of its answer."""

    path: str
    body: dict[str, Any]
    key: str | None
    """The bearer token, if any."""
    status: int
    """0 if the connection was dropped."""


@dataclass
class OpenAIServer:
    """The server; a context manager that listens on a free port."""

    model: Model = field(default_factory=Model)
    api_key: str | None = None
    """The key that requests must contain; None accepts every request."""
    faults: Sequence[Fault] = ()
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[RecordedRequest] = field(default_factory=list, init=False)
    """All POST requests to the model's routes, in order of arrival."""

    def __enter__(self) -> Self:
        self._lock, self._count, self._tries = threading.Lock(), 0, Counter[str]()
        self._http = _Server((self.host, self.port), _Handler)
        self._http.double = self
        self.port = self._http.server_address[1]
        # NOTE: with the default interval, `shutdown` would wait half a second at the end of each test.
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def url(self, endpoint: str = "chat") -> str:
        """Return the full URL of a route: `chat` or `completions`."""
        return f"http://{self.host}:{self.port}{ROUTES[endpoint]}"

    @property
    def answered(self) -> int:
        """Number of requests that were answered with 200."""
        return sum(request.status == 200 for request in self.requests)

    def next_fault(self, question: str) -> Fault | None:
        """Count a request and return its fault, if any."""
        with self._lock:
            self._count += 1
            self._tries[question] += 1
            number, tries = self._count, self._tries[question]
        matching = (
            fault
            for fault in self.faults
            if fault.first <= number <= (fault.last or number) and (fault.tries is None or tries <= fault.tries)
        )
        return next(matching, None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    double: OpenAIServer

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 the base class's signature
        """Ignore clients that closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    @property
    def route(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Do not log requests."""

    def do_GET(self) -> None:
        model = self.server.double.model
        answers: dict[str, dict[str, Any]] = {
            "/health": {"status": "ok"},
            "/v1/models": {"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "test"}]},
            "/tokenizer_info": {"eos_token": "\n", "bos_token": None, "pad_token": None, "chat_template": None},
        }
        if self.route == "/v1/models" and (rejection := self._rejection(model.name)):
            self._send(*rejection)
        elif self.route in answers:
            self._send(200, answers[self.route])
        else:
            self._send(404, _problem("not_found", f"no route {self.path}"))

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw)
        except ValueError:
            self._send(400, _problem("invalid_request_error", "the body is not JSON"))
            return
        if self.route in ROUTES.values():
            self._answer(body)
        elif self.path == "/tokenize":
            self._send(200, {"tokens": list(str(body["prompt"]).encode())})
        elif self.path == "/detokenize":
            self._send(200, {"prompt": bytes(body["tokens"]).decode(errors="replace")})
        else:
            self._send(404, _problem("not_found", f"no route {self.path}"))

    def _answer(self, body: dict[str, Any]) -> None:
        double = self.server.double
        if rejection := self._rejection(body.get("model")):
            self._record(body, rejection[0])
            self._send(*rejection)
            return
        fault = double.next_fault(json.dumps(body.get("messages", body.get("prompt"))))
        if fault and fault.kind != "slow":
            self._fail(fault, body)
            return
        if fault:
            time.sleep(fault.seconds)
        try:
            answer = double.model.chat(body) if self.route == ROUTES["chat"] else double.model.complete(body)
        except BadRequestError as error:
            self._record(body, 400)
            self._send(400, _problem("invalid_request_error", str(error)))
            return
        self._record(body, 200)
        self._send(200, answer)

    def _fail(self, fault: Fault, body: dict[str, Any]) -> None:
        self._record(body, 0 if fault.kind == "drop" else STATUS.get(fault.kind, 200))
        if fault.kind == "drop":
            # NOTE: a linger time of 0 turns the close into a reset, as when a server process dies.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif fault.kind == "malformed":
            self._send(200, {"choices": []}, cut=6)
        elif fault.kind == "garbage":
            self._send(200, {"error": {"message": "upstream timed out", "code": 504}})
        elif fault.kind == "empty":
            empty = Model(name=self.server.double.model.name, text="")
            self._send(200, empty.chat(body) if self.route == ROUTES["chat"] else empty.complete(body))
        else:
            extra = {"Retry-After": f"{fault.seconds:g}"} if fault.kind == "rate_limit" else {}
            self._send(STATUS[fault.kind], _problem(fault.kind, "injected by the test"), extra)

    def _rejection(self, model: object) -> tuple[int, dict[str, Any]] | None:
        double = self.server.double
        if double.api_key is not None and self._key() != double.api_key:
            return 401, _problem("invalid_api_key", "Incorrect API key provided")
        if model != double.model.name:
            return 404, _problem("model_not_found", f"The model `{model}` does not exist")
        return None

    def _key(self) -> str | None:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        return key if scheme == "Bearer" and key else None

    def _record(self, body: dict[str, Any], status: int) -> None:
        with self.server.double._lock:
            self.server.double.requests.append(RecordedRequest(self.path, body, self._key(), status))

    def _send(self, status: int, body: object, headers: dict[str, str] | None = None, *, cut: int = 0) -> None:
        data = json.dumps(body).encode()
        data = data[: len(data) - cut]
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _problem(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


def parse_fault(text: str) -> Fault:
    """Parse `KIND[:FIRST[-[LAST]]]` (`error:11-20`, `slow`, `drop:3-`); a single number is that request only.

    Raises:
        argparse.ArgumentTypeError: the kind is unknown.
    """
    kind, _, span = text.partition(":")
    if kind not in get_args(Kind):
        msg = f"unknown fault {kind!r}; available: {', '.join(get_args(Kind))}"
        raise argparse.ArgumentTypeError(msg)
    first, dash, last = span.partition("-")
    end = int(last) if last else (None if dash or not first else int(first))
    return Fault(kind, int(first or 1), end)  # type: ignore[arg-type]  # checked above


@contextlib.contextmanager
def _from_command_line() -> Iterator[OpenAIServer]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--model", default="fake")
    parser.add_argument("--accuracy", type=float, default=0.75)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--api-key-env", help="name of the variable with the key that requests must contain")
    parser.add_argument("--fault", type=parse_fault, action="append", default=[])
    options = parser.parse_args()
    model = Model(name=options.model, accuracy=options.accuracy)
    key = os.environ[options.api_key_env] if options.api_key_env else None
    slow = [Fault("slow", seconds=options.delay)] if options.delay else []
    with OpenAIServer(model, key, [*options.fault, *slow], options.host, options.port) as server:
        yield server


if __name__ == "__main__":
    with _from_command_line() as running, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on {running.url()}", flush=True)  # noqa: T201 output of a program
        threading.Event().wait()
