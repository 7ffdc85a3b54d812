"""The part of a cluster's API server that Jobs need: HTTP, validation with the client's models, injected faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from tests.doubles.kubernetes.bodies import MODELS, ApiError, validated
from tests.doubles.kubernetes.controller import Controller
from tests.doubles.kubernetes.store import Store
from tests.doubles.lepton.faults import Fault, next_fault

__all__ = ["Cluster", "cluster"]

MERGES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
PREFIXES = ("/apis/batch/v1/namespaces/evals/", "/api/v1/namespaces/evals/")


class Cluster:
    """The API server and its state."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.store = Store()
        self.controller = Controller(self.store, directory / "pods", self.lock)
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.token = "tok-of-the-cluster"
        self.errors: list[str] = []
        self.kubeconfig = directory / "kubeconfig"
        """The file that `kubectl` and the client read."""

    def write_kubeconfig(self, url: str) -> None:
        """Write the file with the cluster's address."""
        name = {"name": "double"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [name | {"cluster": {"server": url}}],
            "users": [name | {"user": {"token": self.token}}],
            "contexts": [name | {"context": {"cluster": "double", "user": "double"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def respond(self, method: str, target: str, body: Any) -> tuple[int, Any]:  # noqa: ANN401
        """Process a request; return status and body."""
        parts = urlsplit(target)
        path = next((parts.path.removeprefix(prefix) for prefix in PREFIXES if parts.path.startswith(prefix)), "")
        kind, _, rest = path.partition("/")
        query = dict(parse_qsl(parts.query))
        if kind not in MODELS:
            raise ApiError(404, "NotFound", f"the server could not find the requested resource {parts.path}")
        if kind == "pods" and rest.endswith("/log"):
            return 200, self._log(rest.removesuffix("/log"), query)
        return self._objects(method, kind, rest, query, body)

    def _objects(self, method: str, kind: str, name: str, query: dict[str, str], body: Any) -> tuple[int, Any]:  # noqa: ANN401
        match method, name:
            case "POST", "":
                created = self.store.create(kind, body, keep=query.get("dryRun") != "All")
                created.setdefault("status", {}) if kind == "jobs" else None
                return 201, validated(MODELS[kind], created)
            case "GET", "":
                return 200, self.store.listing(kind, query.get("labelSelector", ""))
            case "GET", _:
                return 200, validated(MODELS[kind], self.store.get(kind, name))
            case "PATCH", _:
                return 200, validated(MODELS[kind], self.store.patch(kind, name, body))
            case "DELETE", _:
                for deleted_kind, deleted_name in self.store.delete(kind, name):
                    if deleted_kind == "jobs":
                        self.controller.remove(deleted_name)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise ApiError(405, "MethodNotAllowed", f"{method} is not allowed here")

    def _log(self, name: str, query: dict[str, str]) -> Iterator[bytes]:
        owner = self.store.get("pods", name)["metadata"]["ownerReferences"][0]["name"]
        pod = self.controller.pods[owner]
        log, container = pod.logs[query["container"]], query["container"]
        statuses = pod.pod["status"]["initContainerStatuses"] + pod.pod["status"]["containerStatuses"]
        if not any(status["name"] == container and "waiting" not in status["state"] for status in statuses):
            raise ApiError(400, "BadRequest", f'container "{container}" in pod "{name}" is waiting to start')
        if query.get("follow") == "true":
            return log.follow("", self.controller.closing, lambda: None)
        return iter([f"{line.text}\n".encode() for line in log.lines])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    cluster: Cluster


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Suppress the access log."""

    def _serve(self) -> None:
        cluster = self.server.cluster
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with cluster.lock:
            cluster.requests.append(f"{self.command} {self.path}")
            fault = next_fault(cluster.faults, f"{self.command} {self.path}")
        with suppress(BrokenPipeError, ConnectionResetError):
            status, body = self._respond(data) if fault is None or fault.processes_request else (0, None)
            if fault is not None and fault.status is None:
                self._close_connection()
            elif fault is not None and fault.cut is None and fault.status:
                self._write(fault.status, ApiError(fault.status, "Injected", fault.message).body, None)
            else:
                self._write(status, body, fault.cut if fault else None)

    def _respond(self, data: bytes) -> tuple[int, Any]:
        cluster = self.server.cluster
        try:
            if self.headers.get("Authorization") != f"Bearer {cluster.token}":
                raise ApiError(401, "Unauthorized", "Unauthorized")  # noqa: TRY301
            kind = self.headers.get("Content-Type", "")
            if self.command == "PATCH" and kind not in MERGES:
                raise ApiError(415, "UnsupportedMediaType", f"{kind} is no merge patch")  # noqa: TRY301
            with cluster.lock:
                return cluster.respond(self.command, self.path, json.loads(data) if data else None)
        except ApiError as error:
            return error.status, error.body
        except Exception as error:
            cluster.errors.append(f"{self.command} {self.path}: {error!r}")
            raise

    def _close_connection(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _write(self, status: int, body: Any, limit: int | None) -> None:  # noqa: ANN401
        self.send_response(status)
        if isinstance(body, dict):
            data = json.dumps(body).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = limit
        for part in body:
            data = part[:left]
            left = None if left is None else left - len(data)
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """Serve a cluster with the namespace `evals`; on exit, kill its processes and report errors of the double."""
    directory.mkdir(parents=True, exist_ok=True)
    double = Cluster(directory)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.cluster = double
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        double.write_kubeconfig(f"http://127.0.0.1:{server.server_port}")
        double.controller.start()
        try:
            yield double
        finally:
            double.controller.close()
            server.shutdown()
            thread.join()
    assert not double.errors, double.errors
