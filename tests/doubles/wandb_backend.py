"""Double of the W&B service for the real client: it stores runs, files and artifacts, and fails on request.

Written after the requests of wandb 0.31. GraphQL operations are answered by name; an unknown one fails the test.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

__all__ = ["KEY", "Run", "WandbBackend", "wandb_backend"]

KEY = "k" * 40
Json = dict[str, Any]


@dataclass
class Run:
    """A run at the service."""

    name: str
    fields: Json = field(default_factory=dict)
    config: Json = field(default_factory=dict)
    summary: Json = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    complete: bool = False

    def values(self) -> Json:
        """Return the config without the client's wrapping."""
        return {name: entry["value"] for name, entry in self.config.items() if name != "_wandb"}


@dataclass
class WandbBackend:
    """State of the service."""

    url: str = ""
    runs: dict[str, Run] = field(default_factory=dict)
    artifacts: dict[str, Json] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    fail_with: int | None = None
    """Status for every request from now on."""
    failures: int = 0
    """Number of the next requests to the file stream that fail."""
    forgetful: bool = False
    """Accept everything and store nothing."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def writes(self) -> list[str]:
        """Return the operations that changed something."""
        return [name for name in self.operations if name in {"UpsertBucket", "CreateArtifact", "file_stream"}]

    def answer(self, operation: str, variables: Json) -> Json:
        """Execute a GraphQL operation."""
        handler = getattr(self, f"on_{operation}", None)
        if handler is None:
            self.unknown.append(operation)
            return {"errors": [{"message": f"unknown operation {operation}"}]}
        return {"data": handler(variables)}

    VIEWER: ClassVar[Json] = {"id": "V1", "entity": "me", "username": "me", "email": None, "flags": "{}"}

    def on_Viewer(self, _variables: Json) -> Json:  # noqa: N802 - as W&B spells it
        return {"viewer": {**self.VIEWER, "teams": {"edges": []}}}

    def on_GetDefaultEntity(self, _variables: Json) -> Json:  # noqa: N802
        return {"viewer": self.VIEWER}

    def on_ServerInfo(self, _variables: Json) -> Json:  # noqa: N802
        return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None}}

    def on_ServerFeaturesQuery(self, _variables: Json) -> Json:  # noqa: N802
        return {"serverInfo": {"features": []}}

    def on_OrganizationCoreWeaveOrganizationID(self, _variables: Json) -> Json:  # noqa: N802
        return {"entity": None}

    def on_RunResumeStatus(self, variables: Json) -> Json:  # noqa: N802
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": None}
        bucket = {
            "id": f"R-{run.name}",
            "name": run.name,
            "summaryMetrics": json.dumps(run.summary),
            "displayName": run.fields.get("displayName"),
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": 0,
            "historyTail": json.dumps(run.history[-1:]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.fields.get("tags") or [],
            "notes": run.fields.get("notes"),
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {
            "model": {"id": "1", "name": variables["project"], "entity": {"id": "2", "name": "me"}, "bucket": bucket}
        }

    def on_UpsertBucket(self, variables: Json) -> Json:  # noqa: N802
        inserted = variables["name"] not in self.runs
        run = (
            Run(variables["name"])
            if self.forgetful
            else self.runs.setdefault(variables["name"], Run(variables["name"]))
        )
        named = ("displayName", "groupName", "jobType", "tags", "notes", "project", "program")
        run.fields |= {name: variables[name] for name in named if variables.get(name) is not None}
        run.config |= json.loads(variables["config"] or "{}")
        run.summary |= json.loads(variables["summaryMetrics"] or "{}")
        bucket = {
            "id": f"R-{run.name}",
            "name": run.name,
            "displayName": run.fields.get("displayName"),
            "description": "",
            "config": json.dumps(run.config),
            "sweepName": None,
            "historyLineCount": len(run.history),
            "project": {"id": "1", "name": run.fields.get("project"), "entity": {"id": "2", "name": "me"}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def on_CreateRunFiles(self, variables: Json) -> Json:  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def on_Run(self, variables: Json) -> Json:  # noqa: N802
        run = self.runs.get(variables["name"])
        if run is None:
            return {"project": {"run": None}}
        fields = {
            "id": f"R-{run.name}",
            "projectId": "1",
            "tags": run.fields.get("tags") or [],
            "name": run.name,
            "displayName": run.fields.get("displayName"),
            "sweepName": None,
            "state": "finished" if run.complete else "running",
            "config": json.dumps(run.config),
            "group": run.fields.get("groupName"),
            "jobType": run.fields.get("jobType"),
            "commit": None,
            "readOnly": False,
            "createdAt": "2026-11-22T10:30:45Z",
            "heartbeatAt": "2026-11-22T10:30:45Z",
            "description": "",
            "notes": run.fields.get("notes"),
            "systemMetrics": "{}",
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "user": {"name": "me", "username": "me"},
            "historyKeys": {},
        }
        return {"project": {"run": fields}}

    def on_ArtifactType(self, variables: Json) -> Json:  # noqa: N802
        name = variables["name"].partition(":")[0]
        inputs = (artifact["input"] for artifact in self.artifacts.values())
        stored = next((values for values in inputs if name in values.values()), None)
        artifact = {"artifactType": {"name": stored["artifactTypeName"]}} if stored else None
        return {"project": {"artifact": artifact}}

    def on_CreateArtifact(self, variables: Json) -> Json:  # noqa: N802
        values = variables["input"]
        collections = values.get("artifactCollectionNames") or ["a"]
        identity = f"{collections[0]}:{values['digest']}"
        stored = self.artifacts.setdefault(identity, {"state": "PENDING", "input": values, "files": []})
        latest = {"id": b64encode(identity.encode()).decode()}
        artifact = {"id": latest["id"], "state": stored["state"], "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _manifest(self, name: str, *, upload: bool) -> Json:
        file = {"id": "F1"} | ({"uploadUrl": f"{self.url}/upload/manifest", "uploadHeaders": []} if upload else {})
        return {name: {"artifactManifest": {"id": "M1", "file": file}}}

    def on_CreateArtifactManifest(self, variables: Json) -> Json:  # noqa: N802
        return self._manifest("createArtifactManifest", upload=variables["includeUpload"])

    def on_UpdateArtifactManifest(self, variables: Json) -> Json:  # noqa: N802
        return self._manifest("updateArtifactManifest", upload=variables["includeUpload"])

    def on_CreateArtifactFiles(self, variables: Json) -> Json:  # noqa: N802
        edges = [
            {
                "node": {
                    "storagePath": spec["name"],
                    "uploadUrl": f"{self.url}/upload/{spec['name']}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": spec["artifactID"]},
                }
            }
            for spec in variables["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_CommitArtifact(self, variables: Json) -> Json:  # noqa: N802
        for identity, artifact in self.artifacts.items():
            if b64encode(identity.encode()).decode() == variables["artifactID"]:
                artifact["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": "d"}}}

    def stream(self, name: str, body: Json) -> Json:
        """Store a part of the file stream of a run."""
        run = Run(name) if self.forgetful else self.runs[name]
        files = body.get("files") or {}
        for line in files.get("wandb-summary.json", {}).get("content", []):
            run.summary = json.loads(line)
        run.history += files.get("wandb-history.jsonl", {}).get("content", [])
        run.complete = run.complete or bool(body.get("complete"))
        return {"exitcode": None, "limits": {}}


def _handler(backend: WandbBackend) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class inside
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                data = b""
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

        def _serve(self) -> None:
            body = self._body()
            with backend.lock:
                status, answer = self._route(body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _route(self, body: bytes) -> tuple[int, Json]:
            if self.path.startswith("/sdk/otel/"):
                return 200, {}
            if backend.fail_with:
                return backend.fail_with, {"error": "failure requested by the test"}
            if self.path == "/graphql":
                query = json.loads(body)
                match = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
                operation = match[1] if match else "?"
                backend.operations.append(operation)
                return 200, backend.answer(operation, query.get("variables") or {})
            if self.path.startswith("/files/") and self.path.endswith("/file_stream"):
                backend.operations.append("file_stream")
                return 200, backend.stream(self.path.split("/")[4], json.loads(body))
            if self.path.startswith("/upload/"):
                backend.uploads[self.path.removeprefix("/upload/")] = body
                return 200, {}
            backend.unknown.append(f"{self.command} {self.path}")
            return 404, {}

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - as http.server calls them

    return Handler


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: the client may close connections early."""


@contextmanager
def wandb_backend() -> Iterator[WandbBackend]:
    """Run the service on a free port."""
    backend = WandbBackend()
    server = _QuietServer(("127.0.0.1", 0), _handler(backend))
    backend.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
