"""A stateful GitHub double: HTTP on the loopback interface, validated by GitHub's description, faults on demand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.doubles.github.description import Call, validate_answer, validate_request
from tests.doubles.github.routes import Answer, Request, find, refused
from tests.doubles.github.store import ACTIONS_BOT, Identity, Store

__all__ = ["Fault", "GitHubDouble", "github"]


@dataclass(slots=True)
class Fault:
    """An answer that replaces the real one, `times` times, for matching requests."""

    pattern: str
    """Matched against `METHOD /path`."""
    status: int | None
    """None closes the connection without an answer."""
    message: str = "fault"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    after: bool = False
    """Whether the request is carried out before its answer is replaced."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A received request."""

    method: str
    target: str
    body: bytes


class GitHubDouble:
    """The server's state, and the violations of the API's description."""

    def __init__(self, repository: str) -> None:
        self.store = Store(repository)
        self.tokens: dict[str, Identity] = {"t0ken-of-the-workflow": ACTIONS_BOT}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        self.url = ""
        self.lock = threading.RLock()

    @property
    def token(self) -> str:
        return next(iter(self.tokens))

    def grant(self, **permissions: str) -> None:
        """Set the permissions of the workflow's token, for example `pull_requests="write"`."""
        named = {name.replace("_", "-"): level for name, level in permissions.items()}
        self.tokens[self.token] = Identity(rights=named)

    def requests(self, pattern: str) -> list[Seen]:
        """Return the received requests whose `METHOD /path` matches."""
        return [seen for seen in self.seen if re.search(pattern, f"{seen.method} {seen.target}")]

    def environ(self) -> dict[str, str]:
        """Return the variables that a runner of this server sets."""
        urls = {"GITHUB_API_URL": self.url, "GITHUB_GRAPHQL_URL": f"{self.url}/graphql", "GITHUB_SERVER_URL": self.url}
        return urls | {"GITHUB_REPOSITORY": self.store.repository}

    def answer(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, dict[str, str]]:
        """Answer a request; record violations of the API's description in `complaints`."""
        identity = self.tokens.get(headers.get("Authorization", "").removeprefix("Bearer "))
        if target.startswith("/storage/"):
            return self._storage(target, headers)
        if identity is None:
            return _encoded(refused(401, "Bad credentials"))
        if target == "/graphql":
            return _encoded(Answer(200, {"data": {"viewer": {"login": identity.login}}}))
        match = find(method, target, self.store.repository)
        if match is None:
            self.complaints.append(f"no route for {method} {target}")
            return _encoded(refused(404, "Not Found"))
        route, parts, query = match
        call = Call(method, target, body, headers)
        violations = validate_request(call)
        if violations:
            self.complaints.append(f"{method} {target}: {violations}")
            return _encoded(refused(422, f"Invalid request.\n\n{violations}"))
        level = "read" if method == "GET" else "write"
        if not any(identity.may(permission, level) for permission in route.permissions):
            return _encoded(_not_allowed(route.permissions, level))
        request = Request(self.store, identity, parts, query, json.loads(body) if body else {}, self.url)
        status, data, answer_headers = _encoded(route.answer(request))
        violations = validate_answer(call, status, data) if status < 300 and data else None
        if violations:
            self.complaints.append(f"answer to {method} {target}: {violations}")
        return status, data, answer_headers

    def _storage(self, target: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        if "Authorization" in headers:
            self.complaints.append("a token was sent to the storage's host")
            return 400, b"", {}
        return 200, self.store.archives[int(target.rpartition("/")[2])], {"Content-Type": "application/zip"}

    def take_fault(self, method: str, target: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, f"{method} {target}"):
                fault.times -= 1
                return fault
        return None


def _not_allowed(permissions: tuple[str, ...], level: str) -> Answer:
    accepted = "; ".join(f"{permission.replace('-', '_')}={level}" for permission in permissions)
    answer = refused(403, "Resource not accessible by integration")
    return Answer(403, answer.json, {"X-Accepted-GitHub-Permissions": accepted})


def _encoded(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    data = b"" if answer.json is None else json.dumps(answer.json).encode()
    return answer.status, data, {"Content-Type": "application/json; charset=utf-8", **answer.headers}


def _handler(double: GitHubDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Log nothing."""

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:
                # NOTE: the client was killed while it sent the request.
                self.close_connection = True
                return
            with double.lock:
                double.seen.append(Seen(self.command, self.path, body))
                fault = double.take_fault(self.command, self.path)
                if fault is None or fault.after:
                    status, data, headers = double.answer(self.command, self.path, body, dict(self.headers.items()))
            if fault and fault.status is None:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if fault and fault.status is not None:
                status, data, headers = _encoded(Answer(fault.status, {"message": fault.message}, fault.headers))
            with suppress(BrokenPipeError, ConnectionResetError):
                self._reply(status, data, headers)

        def _reply(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    return Handler


@contextmanager
def github(repository: str = "Codertocat/Hello-World") -> Iterator[GitHubDouble]:
    """Serve a repository on a free port; on exit, fail if any request or answer violated the API's description."""
    double = GitHubDouble(repository)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(double)) as server:
        double.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
    assert not double.complaints, double.complaints
