"""The public address of an endpoint: a proxy that checks tokens and counts traffic."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Gateway"]

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "host"}


class Gateway:
    """Keeps its address while the endpoint exists and its server restarts."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.open = False
        """Whether requests are forwarded."""
        self.port = 0
        self.tokens: set[str] = set()
        """Accepted tokens; empty accepts every request."""
        self.requests = 0
        self.last_traffic = now()
        self.now = now
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.gateway = self
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def touch(self) -> None:
        """Record traffic."""
        self.requests += 1
        self.last_traffic = self.now()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    gateway: Gateway


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Suppress the access log."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        gateway = self.server.gateway
        with suppress(BrokenPipeError, ConnectionResetError):
            if gateway.tokens and token not in gateway.tokens:
                self._send_error(401, "invalid token")
            elif not gateway.open:
                self._send_error(503, "no replica is ready")
            else:
                gateway.touch()
                self._forward(body)

    def _forward(self, body: bytes) -> None:
        gateway = self.server.gateway
        upstream = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=300)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            upstream.request(self.command, self.path, body or None, headers)
            response = upstream.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            while part := response.read1(65536):
                self.wfile.write(part)
            gateway.touch()
        except (OSError, http.client.HTTPException) as error:
            self._send_error(502, str(error))
        finally:
            upstream.close()

    def _send_error(self, status: int, message: str) -> None:
        data = json.dumps({"message": message}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815
