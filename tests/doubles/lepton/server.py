"""HTTP server of the double: validates bodies with the SDK's types, and injects faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.doubles.lepton.bodies import ApiError
from tests.doubles.lepton.endpoint_routes import DEPLOYMENTS, ENDPOINTS
from tests.doubles.lepton.faults import Fault, next_fault
from tests.doubles.lepton.job_routes import JOBS
from tests.doubles.lepton.platform import Platform
from tests.doubles.lepton.routing import Request, Response
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.workspace_routes import WORKSPACE

__all__ = ["LeptonDouble", "ReceivedRequest", "lepton"]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that the double received."""

    method: str
    target: str
    """Path and query, after the workspace."""
    body: Any


class LeptonDouble(Platform):
    """The platform with its HTTP address."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        super().__init__(directory, settings)
        self.faults: list[Fault] = []
        self.received: list[ReceivedRequest] = []
        self.errors: list[str] = []
        self.url = ""
        self.prefix = f"/api/v2/workspaces/{settings.workspace}"

    def environ(self) -> dict[str, str]:
        """Return the variables that configure a client of this workspace."""
        return {
            "LEPTON_WORKSPACE_ID": self.settings.workspace,
            "LEPTON_WORKSPACE_TOKEN": self.settings.token,
            "LEPTON_WORKSPACE_URL": self.url,
        }

    def requests(self, method: str, target: str = "") -> list[ReceivedRequest]:
        """Return the requests with this method whose path starts with `target`."""
        return [each for each in self.received if each.method == method and each.target.startswith(target)]

    def respond(self, method: str, target: str, body: Any, authorization: str | None) -> Response:  # noqa: ANN401
        """Process a request."""
        if authorization != f"Bearer {self.settings.token}":
            return _error_response(ApiError(401, "Unauthorized", "the token is not valid"))
        parts = urlsplit(target)
        for routes in (JOBS, ENDPOINTS if self.settings.new_api else DEPLOYMENTS, WORKSPACE):
            if match := routes.find(method, parts.path):
                handler, variables = match
                return self._handle(handler, Request(self, variables, parse_qs(parts.query), body))
        return _error_response(ApiError(404, "NotFound", f"no route {method} {parts.path}"))

    def _handle(self, handler: Any, request: Request) -> Response:  # noqa: ANN401
        with self.lock:
            self.settle()
            try:
                response: Response = handler(request)
            except ApiError as error:
                response = _error_response(error)
            self.settle()
            return response


def _error_response(error: ApiError) -> Response:
    return Response(error.body, error.status, headers=error.headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    double: LeptonDouble


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Suppress the access log."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if len(data) < length:
            # NOTE: the client was killed while it sent the request.
            self.close_connection = True
            return
        double = self.server.double
        target = self.path.removeprefix(double.prefix)
        body = json.loads(data) if data else None
        with double.lock:
            double.received.append(ReceivedRequest(self.command, target, body))
            fault = next_fault(double.faults, f"{self.command} {target}")
        with suppress(BrokenPipeError, ConnectionResetError):
            self._reply(target, body, fault)

    def _reply(self, target: str, body: Any, fault: Fault | None) -> None:  # noqa: ANN401
        double = self.server.double
        if fault is None or fault.processes_request:
            try:
                response = double.respond(self.command, target, body, self.headers.get("Authorization"))
            except Exception as error:
                double.errors.append(f"{self.command} {target}: {error!r}")
                raise
        if fault is not None and fault.cut is None:
            if fault.silent:
                double.closing.wait(60)
            if fault.silent or fault.status is None:
                self._close_connection()
                return
            response = Response({"code": "Injected", "message": fault.message}, fault.status, headers=fault.headers)
        self._write(response, fault.cut if fault else None)

    def _close_connection(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _write(self, response: Response, cut: int | None) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.stream is None:
            data = json.dumps(response.json).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])
        else:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(response.stream, cut)
        if cut is not None:
            self._close_connection()

    def _stream(self, parts: Iterator[bytes], cut: int | None) -> None:
        remaining = cut
        for part in parts:
            data = part[:remaining]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            remaining = None if remaining is None else remaining - len(data)
            if remaining == 0:
                return
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815


@contextmanager
def lepton(directory: Path, settings: Settings | None = None) -> Iterator[LeptonDouble]:
    """Serve a workspace on a free port; on exit, kill its processes and report errors of the double."""
    double = LeptonDouble(directory, settings or Settings())
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.double = double
        double.url = f"http://127.0.0.1:{server.server_port}{double.prefix}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield double
        finally:
            double.close()
            server.shutdown()
            thread.join()
    assert not double.errors, double.errors
