"""Google Sheets and Drive, as far as rows go: every call and answer is held against Google's discovery documents.

State is a grid of values. Calls that the documents do not describe are refused, as Google would; answers that
they do not describe fail the test, since then the double would be lying.
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
Found = tuple[Json, Json, dict[str, str]]


def documents() -> list[Path]:
    """Find the discovery documents of Sheets and Drive, where google-api-python-client is installed."""
    spec = importlib.util.find_spec("googleapiclient")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "discovery_cache" / "documents"
    return [folder / "sheets.v4.json", folder / "drive.v3.json"]


@dataclass
class Tab:
    """One tab: a grid of values."""

    id: int
    title: str
    columns: int
    grid: list[list[Any]] = field(default_factory=list)

    def rows(self) -> list[Json]:
        """Return the rows by their heads."""
        heads, *rows = self.grid
        return [dict(zip(heads, [*row, *[""] * len(heads)], strict=False)) for row in rows]


@dataclass
class SheetsDouble:
    """One spreadsheet; another one comes only by being made."""

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
    """Status and headers of the next answers."""
    lost: list[str] = field(default_factory=list)
    """Calls that are carried out and then answered with an error, once each."""
    lies: list[str] = field(default_factory=list)
    """Answers of ours that the documents do not describe."""
    tokens: int = 0
    meeting: threading.Barrier | None = None
    """Where the first writers wait for each other, so that each has read before any has written."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Google carries out one call after the other."""

    @property
    def grid(self) -> list[list[Any]]:
        """The first tab's values."""
        return self.tabs[0].grid

    def rows(self) -> list[Json]:
        """Return the first tab's rows by their heads."""
        return self.tabs[0].rows()

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Json, dict[str, str]]:  # noqa: ANN401 - JSON
        """Answer one request."""
        parts = urlsplit(target)
        if parts.path == "/token":
            self.tokens += 1
            return 200, {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}, {}
        if self.failures:
            status, headers = self.failures.pop(0)
            return status, _problem(status, "told to fail"), headers
        found = _method(method, unquote(parts.path))
        if found is None:
            return 404, _problem(404, f"no method {method} {parts.path}"), {}
        document, described, named = found
        wrong = _wrong(document, described, parse_qs(parts.query), body)
        if wrong:
            return 400, _problem(400, "; ".join(wrong)), {}
        self.calls.append(described["id"])
        self.bodies.append(body)
        status, result = self._do(described["id"], named, body, parse_qs(parts.query))
        if status == 200:
            self.lies += _invalid(document, described["response"]["$ref"], result)
        if described["id"] in self.lost:
            self.lost.remove(described["id"])
            return 500, _problem(500, "done, and the answer lost"), {}
        return status, result, {}

    def _do(self, call: str, named: dict[str, str], body: Any, query: dict[str, list[str]]) -> tuple[int, Json]:  # noqa: ANN401
        if call == "drive.files.list":
            wanted = re.search(r'name ?= ?"([^"]*)"', query["q"][0])
            mine = wanted is not None and wanted[1] == self.title
            return 200, {"files": [{"id": self.identity, "name": self.title}] if mine else []}
        if call == "drive.permissions.create":
            self.shared.append(f"{body['role']} {body['emailAddress']}")
            return 200, {"id": "p", "kind": "drive#permission", "type": body["type"], "role": body["role"]}
        if call == "sheets.spreadsheets.create":
            return self._create(body)
        if named["spreadsheetId"] != self.identity:
            return 404, _problem(404, "Requested entity was not found.")
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
                        "index": place,
                        "sheetType": "GRID",
                        "gridProperties": {"rowCount": 1000, "columnCount": tab.columns},
                    }
                }
                for place, tab in enumerate(self.tabs)
            ],
        }

    def _batch(self, requests: list[Json]) -> tuple[int, Json]:
        before = copy.deepcopy((self.tabs, self.metadata))
        try:
            for request in requests:
                ((kind, given),) = request.items()
                getattr(self, f"_{kind}")(given)
        except (IndexError, KeyError) as error:
            # NOTE: all or nothing, as Google promises.
            self.tabs, self.metadata = before
            return 400, _problem(400, str(error))
        return 200, {"spreadsheetId": self.identity, "replies": [{} for _ in requests]}

    def _tab(self, given: Json) -> Tab:
        return {tab.id: tab for tab in self.tabs}[given["sheetId"]]

    def _addSheet(self, given: Json) -> None:  # noqa: N802 - as Google spells it
        new = given["properties"]
        if any(tab.id == new["sheetId"] or tab.title == new["title"] for tab in self.tabs):
            msg = f"a sheet with the name {new['title']} already exists"
            raise IndexError(msg)
        self.tabs.append(Tab(new["sheetId"], new["title"], new["gridProperties"]["columnCount"]))

    def _createDeveloperMetadata(self, given: Json) -> None:  # noqa: N802
        new = given["developerMetadata"]
        # NOTE: "the spreadsheet-scoped unique ID", says the discovery document.
        if new["metadataId"] in self.metadata:
            msg = f"developer metadata {new['metadataId']} already exists"
            raise IndexError(msg)
        self.metadata[new["metadataId"]] = new

    def _deleteDeveloperMetadata(self, given: Json) -> None:  # noqa: N802
        wanted = given["dataFilter"]["developerMetadataLookup"].items()
        self.metadata = {name: one for name, one in self.metadata.items() if not wanted <= one.items()}

    def _appendDimension(self, given: Json) -> None:  # noqa: N802
        assert given["dimension"] == "COLUMNS"
        self._tab(given).columns += given["length"]

    def _updateCells(self, given: Json) -> None:  # noqa: N802
        assert given["fields"] == "userEnteredValue"
        start = given["start"]
        for offset, row in enumerate(given["rows"]):
            _put(self._tab(start), start["rowIndex"] + offset, start["columnIndex"], row["values"])

    def _appendCells(self, given: Json) -> None:  # noqa: N802
        assert given["fields"] == "userEnteredValue"
        tab = self._tab(given)
        for row in given["rows"]:
            _put(tab, len(tab.grid), 0, row["values"])


def _put(tab: Tab, place: int, column: int, cells: list[Json]) -> None:
    if column + len(cells) > tab.columns:
        msg = f"column {column + len(cells)} is beyond the grid of {tab.columns}"
        raise IndexError(msg)
    while len(tab.grid) <= place:
        tab.grid.append([])
    row = tab.grid[place]
    row += [""] * (column + len(cells) - len(row))
    for offset, cell in enumerate(cells):
        value = cell.get("userEnteredValue", {})
        row[column + offset] = value.get("stringValue", value.get("numberValue", ""))


def _quoted(title: str) -> str:
    doubled = title.replace("'", "''")
    return f"'{doubled}'"


def _trimmed(grid: list[list[Any]]) -> list[list[Any]]:
    """Leave out empty cells at the ends of rows, as Google does."""
    return [row[: max((place + 1 for place, value in enumerate(row) if value != ""), default=0)] for row in grid]


def _problem(code: int, message: str) -> Json:
    names = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": code, "message": message, "status": names.get(code, "INTERNAL")}}


@cache
def _loaded() -> tuple[Json, ...]:
    return tuple(json.loads(path.read_text(encoding="utf-8")) for path in documents())


def _methods(part: Json) -> Iterator[Json]:
    yield from part.get("methods", {}).values()
    for inner in part.get("resources", {}).values():
        yield from _methods(inner)


def _method(verb: str, path: str) -> Found | None:
    for document in _loaded():
        base = urlsplit(document["rootUrl"] + document["servicePath"]).path
        for one in _methods(document):
            template = re.escape(base + (one.get("flatPath") or one["path"]))
            pattern = re.sub(r"\\\{\\?\+?(\w+)\\\}", r"(?P<\1>[^/:]+)", template)
            matched = re.fullmatch(pattern, path) if one["httpMethod"] == verb else None
            if matched:
                return document, one, matched.groupdict()
    return None


def _wrong(document: Json, described: Json, query: dict[str, list[str]], body: Any) -> list[str]:  # noqa: ANN401
    known = {**document["parameters"], **described.get("parameters", {})}
    wrong = [f"unknown parameter {name}" for name in query if name not in known]
    for name, values in query.items():
        allowed = known.get(name, {}).get("enum")
        wrong += [f"{name} cannot be {value}" for value in values if allowed and value not in allowed]
    return wrong + (_invalid(document, described["request"]["$ref"], body) if "request" in described else [])


def _invalid(document: Json, name: str, value: Any) -> list[str]:  # noqa: ANN401
    import jsonschema

    schema = {"$ref": f"#/$defs/{name}", "$defs": _schemas(document["id"])}
    return [error.message[:200] for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


@cache
def _schemas(identity: str) -> Json:
    document = next(one for one in _loaded() if one["id"] == identity)
    return {name: _schema(one) for name, one in document["schemas"].items()}


def _schema(given: Json) -> Json:
    """Turn Google's kind of schema into JSON Schema, with no properties but those it names."""
    if "$ref" in given:
        return {"$ref": f"#/$defs/{given['$ref']}"}
    made: Json = {} if given.get("type") in {None, "any"} else {"type": given["type"]}
    made |= {"enum": given["enum"]} if "enum" in given else {}
    made |= {"items": _schema(given["items"])} if "items" in given else {}
    if "properties" in given:
        made["properties"] = {name: _schema(one) for name, one in given["properties"].items()}
        made["additionalProperties"] = False
    if "additionalProperties" in given:
        made["additionalProperties"] = _schema(given["additionalProperties"])
    return made


def _handler(double: SheetsDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(data) if data.startswith(b"{") else None
            if self.path.endswith(":batchUpdate") and (meeting := double.meeting) is not None:
                meeting.wait(60)
                double.meeting = None
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
        assert double.lies == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
