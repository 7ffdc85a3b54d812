"""A cluster's API server as far as Jobs go: real HTTP, the client's models as its judge, faults on request."""

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
from tests.doubles.kubernetes.bodies import MODELS, Refused, known
from tests.doubles.kubernetes.controller import Controller
from tests.doubles.kubernetes.store import Store
from tests.doubles.lepton.faults import Fault, take

__all__ = ["Cluster", "cluster"]

MERGES = ("application/merge-patch+json", "application/strategic-merge-patch+json")
PREFIXES = ("/apis/batch/v1/namespaces/evals/", "/api/v1/namespaces/evals/")


class Cluster:
    """The API server's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.store = Store()
        self.controller = Controller(self.store, folder / "pods", self.lock)
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.token = "tok-of-the-cluster"
        self.complaints: list[str] = []
        self.kubeconfig = folder / "kubeconfig"
        """The file that `kubectl` and the client read."""

    def write_kubeconfig(self, url: str) -> None:
        """Say where the cluster is."""
        named = {"name": "double"}
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "clusters": [named | {"cluster": {"server": url}}],
            "users": [named | {"user": {"token": self.token}}],
            "contexts": [named | {"context": {"cluster": "double", "user": "double"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(text))

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:  # noqa: ANN401
        """Carry a request out."""
        parts = urlsplit(target)
        path = next((parts.path.removeprefix(prefix) for prefix in PREFIXES if parts.path.startswith(prefix)), "")
        kind, _, rest = path.partition("/")
        query = dict(parse_qsl(parts.query))
        if kind not in MODELS:
            raise Refused(404, "NotFound", f"the server could not find the requested resource {parts.path}")
        if kind == "pods" and rest.endswith("/log"):
            return 200, self._log(rest.removesuffix("/log"), query)
        return self._objects(method, kind, rest, query, body)

    def _objects(self, method: str, kind: str, name: str, query: dict[str, str], body: Any) -> tuple[int, Any]:  # noqa: ANN401
        match method, name:
            case "POST", "":
                made = self.store.create(kind, body, keep=query.get("dryRun") != "All")
                made.setdefault("status", {}) if kind == "jobs" else None
                return 201, known(MODELS[kind], made)
            case "GET", "":
                return 200, self.store.listing(kind, query.get("labelSelector", ""))
            case "GET", _:
                return 200, known(MODELS[kind], self.store.get(kind, name))
            case "PATCH", _:
                return 200, known(MODELS[kind], self.store.patch(kind, name, body))
            case "DELETE", _:
                for gone, which in self.store.delete(kind, name):
                    if gone == "jobs":
                        self.controller.remove(which)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        raise Refused(405, "MethodNotAllowed", f"{method} is not allowed here")

    def _log(self, name: str, query: dict[str, str]) -> Iterator[bytes]:
        owner = self.store.get("pods", name)["metadata"]["ownerReferences"][0]["name"]
        pod = self.controller.pods[owner]
        log, container = pod.logs[query["container"]], query["container"]
        statuses = pod.pod["status"]["initContainerStatuses"] + pod.pod["status"]["containerStatuses"]
        if not any(each["name"] == container and "waiting" not in each["state"] for each in statuses):
            raise Refused(400, "BadRequest", f'container "{container}" in pod "{name}" is waiting to start')
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
        """Say nothing."""

    def _serve(self) -> None:
        cluster = self.server.cluster
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with cluster.lock:
            cluster.seen.append(f"{self.command} {self.path}")
            fault = take(cluster.faults, f"{self.command} {self.path}")
        with suppress(BrokenPipeError, ConnectionResetError):
            status, answer = self._answer(data) if fault is None or fault.carries_out else (0, None)
            if fault is not None and fault.status is None:
                self._hang_up()
            elif fault is not None and fault.cut is None and fault.status:
                self._write(fault.status, Refused(fault.status, "Injected", fault.message).body, None)
            else:
                self._write(status, answer, fault.cut if fault else None)

    def _answer(self, data: bytes) -> tuple[int, Any]:
        cluster = self.server.cluster
        try:
            if self.headers.get("Authorization") != f"Bearer {cluster.token}":
                raise Refused(401, "Unauthorized", "Unauthorized")  # noqa: TRY301
            kind = self.headers.get("Content-Type", "")
            if self.command == "PATCH" and kind not in MERGES:
                raise Refused(415, "UnsupportedMediaType", f"{kind} is no merge patch")  # noqa: TRY301
            with cluster.lock:
                return cluster.answer(self.command, self.path, json.loads(data) if data else None)
        except Refused as refused:
            return refused.status, refused.body
        except Exception as error:
            cluster.complaints.append(f"{self.command} {self.path}: {error!r}")
            raise

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _write(self, status: int, answer: Any, cut: int | None) -> None:  # noqa: ANN401
        self.send_response(status)
        if isinstance(answer, dict):
            data = json.dumps(answer).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = cut
        for part in answer:
            data = part[:left]
            left = None if left is None else left - len(data)
            if data:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve  # noqa: N815


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Serve a cluster with one namespace, `evals`; on leaving, its processes are ended."""
    folder.mkdir(parents=True, exist_ok=True)
    double = Cluster(folder)
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
    assert not double.complaints, double.complaints
