"""A Lepton that remembers: real HTTP on the loopback, the SDK's types as its judge, faults on request."""

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

from tests.doubles.lepton.bodies import Refused
from tests.doubles.lepton.endpoint_routes import DEPLOYMENTS, ENDPOINTS
from tests.doubles.lepton.faults import Fault, take
from tests.doubles.lepton.job_routes import JOBS
from tests.doubles.lepton.platform import Platform
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.table import Answer, Asked
from tests.doubles.lepton.workspace_routes import WORKSPACE

__all__ = ["LeptonDouble", "Seen", "lepton"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that arrived."""

    method: str
    target: str
    """Path and query, after the workspace."""
    body: Any


class LeptonDouble(Platform):
    """The platform and its address."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__(folder, settings)
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.complaints: list[str] = []
        self.url = ""
        self.prefix = f"/api/v2/workspaces/{settings.workspace}"

    def environ(self) -> dict[str, str]:
        """What a machine has set that may use this workspace."""
        return {
            "LEPTON_WORKSPACE_ID": self.settings.workspace,
            "LEPTON_WORKSPACE_TOKEN": self.settings.token,
            "LEPTON_WORKSPACE_URL": self.url,
        }

    def requests(self, method: str, target: str = "") -> list[Seen]:
        """The requests that arrived whose path begins so."""
        return [seen for seen in self.seen if seen.method == method and seen.target.startswith(target)]

    def answer(self, method: str, target: str, body: Any, authorization: str | None) -> Answer:  # noqa: ANN401
        """Carry a request out."""
        if authorization != f"Bearer {self.settings.token}":
            return _refusal(Refused(401, "Unauthorized", "the token is not valid"))
        parts = urlsplit(target)
        for table in (JOBS, ENDPOINTS if self.settings.new_api else DEPLOYMENTS, WORKSPACE):
            if found := table.find(method, parts.path):
                asked = Asked(self, found[1], parse_qs(parts.query), body)
                return self._carry_out(found[0], asked)
        return _refusal(Refused(404, "NotFound", f"no route {method} {parts.path}"))

    def _carry_out(self, handler: Any, asked: Asked) -> Answer:  # noqa: ANN401
        with self.lock:
            self.settle()
            try:
                answer: Answer = handler(asked)
            except Refused as refused:
                answer = _refusal(refused)
            self.settle()
            return answer


def _refusal(refused: Refused) -> Answer:
    return Answer(refused.body, refused.status, headers=refused.headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    double: LeptonDouble


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        if len(data) < length:
            # NOTE: the client was killed while it spoke; half a request was never made.
            self.close_connection = True
            return
        double = self.server.double
        target = self.path.removeprefix(double.prefix)
        body = json.loads(data) if data else None
        with double.lock:
            double.seen.append(Seen(self.command, target, body))
            fault = take(double.faults, f"{self.command} {target}")
        with suppress(BrokenPipeError, ConnectionResetError):
            self._reply(target, body, fault)

    def _reply(self, target: str, body: Any, fault: Fault | None) -> None:  # noqa: ANN401
        double = self.server.double
        if fault is None or fault.carries_out:
            try:
                answer = double.answer(self.command, target, body, self.headers.get("Authorization"))
            except Exception as error:
                double.complaints.append(f"{self.command} {target}: {error!r}")
                raise
        if fault is not None and fault.cut is None:
            if fault.silent:
                double.closing.wait(60)
            if fault.silent or fault.status is None:
                self._hang_up()
                return
            answer = Answer({"code": "Injected", "message": fault.message}, fault.status, headers=fault.headers)
        self._write(answer, fault.cut if fault else None)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _write(self, answer: Answer, cut: int | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.stream is None:
            data = json.dumps(answer.json).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])
        else:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._stream(answer.stream, cut)
        if cut is not None:
            self._hang_up()

    def _stream(self, parts: Iterator[bytes], cut: int | None) -> None:
        left = cut
        for part in parts:
            data = part[:left]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            left = None if left is None else left - len(data)
            if left == 0:
                return
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815


@contextmanager
def lepton(folder: Path, settings: Settings | None = None) -> Iterator[LeptonDouble]:
    """Serve a workspace on a free port; on leaving, its processes are ended and nothing may have gone wrong in it."""
    double = LeptonDouble(folder, settings or Settings())
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
    assert not double.complaints, double.complaints
