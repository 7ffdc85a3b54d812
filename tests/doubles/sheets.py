"""Double of Google Sheets and Drive: requests and responses are validated against Google's discovery documents.

The state is a grid of values. Requests that the documents do not describe are rejected, as by Google; responses that
they do not describe fail the test.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["SheetsDouble", "Tab", "documents", "sheets_double"]

Json = dict[str, Any]
Match = tuple[Json, Json, dict[str, str]]
"""Discovery document, description of the method, and parameters in the path."""


def documents() -> list[Path]:
    """Return the discovery documents of Sheets and Drive; none without google-api-python-client."""
    spec = importlib.util.find_spec("googleapiclient")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "discovery_cache" / "documents"
    return [folder / "sheets.v4.json", folder / "drive.v3.json"]


@dataclass
class Tab:
    """One sheet of the spreadsheet: a grid of values."""

    id: int
    title: str
    columns: int
    grid: list[list[Any]] = field(default_factory=list)

    def rows(self) -> list[Json]:
        """Return the rows as values by header."""
        headers, *rows = self.grid
        return [dict(zip(headers, [*row, *[""] * len(headers)], strict=False)) for row in rows]


@dataclass
class SheetsDouble:
    """State of the double: one spreadsheet, replaced by each created one."""

    url: str = ""
    identity: str = "S1"
    title: str = "Nightly"
    tabs: list[Tab] = field(default_factory=lambda: [Tab(7, "Sheet1", 5)])
    metadata: dict[int, Json] = field(default_factory=dict)
    """Developer metadata by id."""
    shared: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next responses."""
    lost: list[str] = field(default_factory=list)
    """Requests that are executed but answered with an error, once each."""
    invalid_responses: list[str] = field(default_factory=list)
    """Responses of the double that the documents do not describe."""
    tokens: int = 0
    barrier: threading.Barrier | None = None
    """The first writers wait here for each other, so that each has read before any has written."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Requests are executed one after the other."""

    @property
    def grid(self) -> list[list[Any]]:
        """Values of the first sheet."""
        return self.tabs[0].grid

    def rows(self) -> list[Json]:
        """Return the rows of the first sheet as values by header."""
        return self.tabs[0].rows()

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Json, dict[str, str]]:  # noqa: ANN401 - JSON
        """Execute a request.

        Returns:
            Status, body and headers of the response.
        """
        parts = urlsplit(target)
        if parts.path == "/token":
            self.tokens += 1
            return 200, {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}, {}
        if self.failures:
            status, headers = self.failures.pop(0)
            return status, _error(status, "failure requested by the test"), headers
        match = _method(method, unquote(parts.path))
        if match is None:
            return 404, _error(404, f"no method {method} {parts.path}"), {}
        document, described, named = match
        problems = _problems(document, described, parse_qs(parts.query), body)
        if problems:
            return 400, _error(400, "; ".join(problems)), {}
        self.calls.append(described["id"])
        self.bodies.append(body)
        status, result = self._execute(described["id"], named, body, parse_qs(parts.query))
        if status == 200:
            self.invalid_responses += _invalid(document, described["response"]["$ref"], result)
        if described["id"] in self.lost:
            self.lost.remove(described["id"])
            return 500, _error(500, "executed, but the response was lost"), {}
        return status, result, {}

    def _execute(self, call: str, named: dict[str, str], body: Any, query: dict[str, list[str]]) -> tuple[int, Json]:  # noqa: ANN401
        if call == "drive.files.list":
            title = re.search(r'name ?= ?"([^"]*)"', query["q"][0])
            matches = title is not None and title[1] == self.title
            return 200, {"files": [{"id": self.identity, "name": self.title}] if matches else []}
        if call == "drive.permissions.create":
            self.shared.append(f"{body['role']} {body['emailAddress']}")
            return 200, {"id": "p", "kind": "drive#permission", "type": body["type"], "role": body["role"]}
        if call == "sheets.spreadsheets.create":
            return self._create(body)
        if named["spreadsheetId"] != self.identity:
            return 404, _error(404, "Requested entity was not found.")
        if call == "sheets.spreadsheets.get":
            return 200, self._metadata()
        if call == "sheets.spreadsheets.values.get":
            assert query["valueRenderOption"] == ["UNFORMATTED_VALUE"]
            (tab,) = [tab for tab in self.tabs if named["range"] == _quoted(tab.title)]
            return 200, {"range": named["range"], "majorDimension": "ROWS", "values": _trimmed(tab.grid)}
        assert call == "sheets.spreadsheets.batchUpdate", call
        return self._batch(body["requests"])

    def _create(self, body: Json) -> tuple[int, Json]:
        self.identity, self.title, self.metadata = "S2", body["properties"]["title"], {}
        titles = [tab["properties"]["title"] for tab in body.get("sheets", [])] or ["Sheet1"]
        self.tabs = [Tab(number, title, 26) for number, title in enumerate(titles)]
        return 200, self._metadata()

    def _metadata(self) -> Json:
        return {
            "spreadsheetId": self.identity,
            "properties": {"title": self.title},
            "developerMetadata": list(self.metadata.values()),
            "sheets": [
                {
                    "properties": {
                        "sheetId": tab.id,
                        "title": tab.title,
                        "index": index,
                        "sheetType": "GRID",
                        "gridProperties": {"rowCount": 1000, "columnCount": tab.columns},
                    }
                }
                for index, tab in enumerate(self.tabs)
            ],
        }

    def _batch(self, requests: list[Json]) -> tuple[int, Json]:
        before = copy.deepcopy((self.tabs, self.metadata))
        try:
            for request in requests:
                ((kind, parameters),) = request.items()
                getattr(self, f"_{kind}")(parameters)
        except (IndexError, KeyError) as error:
            # NOTE: a batch is applied completely or not at all, as documented by Google.
            self.tabs, self.metadata = before
            return 400, _error(400, str(error))
        return 200, {"spreadsheetId": self.identity, "replies": [{} for _ in requests]}

    def _tab(self, parameters: Json) -> Tab:
        return {tab.id: tab for tab in self.tabs}[parameters["sheetId"]]

    def _addSheet(self, parameters: Json) -> None:  # noqa: N802 - as Google spells it
        new = parameters["properties"]
        if any(tab.id == new["sheetId"] or tab.title == new["title"] for tab in self.tabs):
            msg = f"a sheet with the name {new['title']} already exists"
            raise IndexError(msg)
        self.tabs.append(Tab(new["sheetId"], new["title"], new["gridProperties"]["columnCount"]))

    def _createDeveloperMetadata(self, parameters: Json) -> None:  # noqa: N802
        new = parameters["developerMetadata"]
        # NOTE: the discovery document calls it "the spreadsheet-scoped unique ID".
        if new["metadataId"] in self.metadata:
            msg = f"developer metadata {new['metadataId']} already exists"
            raise IndexError(msg)
        self.metadata[new["metadataId"]] = new

    def _deleteDeveloperMetadata(self, parameters: Json) -> None:  # noqa: N802
        lookup = parameters["dataFilter"]["developerMetadataLookup"].items()
        self.metadata = {name: entry for name, entry in self.metadata.items() if not lookup <= entry.items()}

    def _appendDimension(self, parameters: Json) -> None:  # noqa: N802
        assert parameters["dimension"] == "COLUMNS"
        self._tab(parameters).columns += parameters["length"]

    def _updateCells(self, parameters: Json) -> None:  # noqa: N802
        assert parameters["fields"] == "userEnteredValue"
        start = parameters["start"]
        for offset, row in enumerate(parameters["rows"]):
            _put(self._tab(start), start["rowIndex"] + offset, start["columnIndex"], row["values"])

    def _appendCells(self, parameters: Json) -> None:  # noqa: N802
        assert parameters["fields"] == "userEnteredValue"
        tab = self._tab(parameters)
        for row in parameters["rows"]:
            _put(tab, len(tab.grid), 0, row["values"])


def _put(tab: Tab, number: int, column: int, cells: list[Json]) -> None:
    if column + len(cells) > tab.columns:
        msg = f"column {column + len(cells)} is beyond the grid of {tab.columns}"
        raise IndexError(msg)
    while len(tab.grid) <= number:
        tab.grid.append([])
    row = tab.grid[number]
    row += [""] * (column + len(cells) - len(row))
    for offset, cell in enumerate(cells):
        value = cell.get("userEnteredValue", {})
        row[column + offset] = value.get("stringValue", value.get("numberValue", ""))


def _quoted(title: str) -> str:
    doubled = title.replace("'", "''")
    return f"'{doubled}'"


def _trimmed(grid: list[list[Any]]) -> list[list[Any]]:
    """Remove empty cells at the ends of rows, as Google does."""
    return [row[: max((index + 1 for index, value in enumerate(row) if value != ""), default=0)] for row in grid]


def _error(code: int, message: str) -> Json:
    names = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": code, "message": message, "status": names.get(code, "INTERNAL")}}


@cache
def _loaded() -> tuple[Json, ...]:
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in documents())


def _methods(part: Json) -> Iterator[Json]:
    yield from part.get("methods", {}).values()
    for inner in part.get("resources", {}).values():
        yield from _methods(inner)


def _method(verb: str, path: str) -> Match | None:
    for document in _loaded():
        base = urlsplit(document["rootUrl"] + document["servicePath"]).path
        for described in _methods(document):
            template = re.escape(base + (described.get("flatPath") or described["path"]))
            pattern = re.sub(r"\\\{\\?\+?(\w+)\\\}", r"(?P<\1>[^/:]+)", template)
            match = re.fullmatch(pattern, path) if described["httpMethod"] == verb else None
            if match:
                return document, described, match.groupdict()
    return None


def _problems(document: Json, described: Json, query: dict[str, list[str]], body: Any) -> list[str]:  # noqa: ANN401
    known = {**document["parameters"], **described.get("parameters", {})}
    problems = [f"unknown parameter {name}" for name in query if name not in known]
    for name, values in query.items():
        allowed = known.get(name, {}).get("enum")
        problems += [f"{name} cannot be {value}" for value in values if allowed and value not in allowed]
    return problems + (_invalid(document, described["request"]["$ref"], body) if "request" in described else [])


def _invalid(document: Json, name: str, value: Any) -> list[str]:  # noqa: ANN401
    import jsonschema

    schema = {"$ref": f"#/$defs/{name}", "$defs": _schemas(document["id"])}
    return [error.message[:200] for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


@cache
def _schemas(identity: str) -> Json:
    document = next(document for document in _loaded() if document["id"] == identity)
    return {name: _schema(schema) for name, schema in document["schemas"].items()}


def _schema(source: Json) -> Json:
    """Convert Google's kind of schema to JSON Schema without additional properties."""
    if "$ref" in source:
        return {"$ref": f"#/$defs/{source['$ref']}"}
    schema: Json = {} if source.get("type") in {None, "any"} else {"type": source["type"]}
    schema |= {"enum": source["enum"]} if "enum" in source else {}
    schema |= {"items": _schema(source["items"])} if "items" in source else {}
    if "properties" in source:
        schema["properties"] = {name: _schema(value) for name, value in source["properties"].items()}
        schema["additionalProperties"] = False
    if "additionalProperties" in source:
        schema["additionalProperties"] = _schema(source["additionalProperties"])
    return schema


def _handler(double: SheetsDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Log nothing."""

        def _serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(data) if data.startswith(b"{") else None
            if self.path.endswith(":batchUpdate") and (barrier := double.barrier) is not None:
                barrier.wait(60)
                double.barrier = None
            with double.lock:
                status, result, headers = double.answer(self.command, self.path, body)
            out = json.dumps(result).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - as http.server calls them

    return Handler


@contextmanager
def sheets_double() -> Iterator[SheetsDouble]:
    """Run the double on a free port."""
    double = SheetsDouble()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    double.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield double
        assert double.invalid_responses == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
