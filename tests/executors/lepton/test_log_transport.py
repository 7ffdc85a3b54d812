"""The lines between a job's entry point and the collector."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from nel_action.executors.lepton.log_transport import (
    ExitRecord,
    is_transport_line,
    parse_exit_record,
    parse_transmissions,
)

pytestmark = pytest.mark.slow

ATTEMPT = "nel-0123456789abcdef-1"
ARCHIVE = bytes(range(256)) * 4
FIELDS = {
    "status": 0,
    "reason": "",
    "detail": "",
    "began": 1_700_000_000,
    "ended": 1_700_000_060,
    "pieces": 2,
    "bytes": len(ARCHIVE),
    "sha256": hashlib.sha256(ARCHIVE).hexdigest(),
}


def transport_lines(run: str = "a1b2c3d4", attempt: str = ATTEMPT, **fields: Any) -> list[str]:  # noqa: ANN401
    """Return the lines of a run that sends `ARCHIVE` in two parts."""
    encoded = [base64.b64encode(part).decode() for part in (ARCHIVE[:600], ARCHIVE[600:])]
    record = base64.b64encode(json.dumps(FIELDS | fields).encode()).decode()
    prefix = f"@nel:{attempt}:{run}"
    parts = [f"{prefix}:part:{number}/2:{text}" for number, text in enumerate(encoded, start=1)]
    return [f"{prefix}:begin:1700000000", *parts, f"{prefix}:end:{record}"]


def test_parse_transmissions_restores_the_archive_and_the_exit_record() -> None:
    (transmission,) = parse_transmissions(["output", *transport_lines(), ""], ATTEMPT)
    assert transmission.archive() == ARCHIVE
    assert transmission.missing == 0
    assert transmission.exit_record == ExitRecord(
        exit_code=0,
        reason="",
        detail="",
        started="2023-11-14T22:13:20Z",
        ended="2023-11-14T22:14:20Z",
        parts=2,
        size=len(ARCHIVE),
        digest=FIELDS["sha256"],  # type: ignore[arg-type]
    )


def test_parse_transmissions_accepts_repeated_and_reordered_lines() -> None:
    lines = transport_lines()
    (transmission,) = parse_transmissions([*reversed(lines), *lines, lines[1] + "\r\n"], ATTEMPT)
    assert transmission.archive() == ARCHIVE


def test_parse_transmissions_separates_runs_and_ignores_other_attempts() -> None:
    lines = [*transport_lines("first", status=1), *transport_lines("second"), *transport_lines(attempt="nel-other-1")]
    first, second = parse_transmissions(lines, ATTEMPT)
    assert (first.run, second.run) == ("first", "second")
    assert first.exit_record is not None
    assert first.exit_record.exit_code == 1
    assert second.archive() == ARCHIVE


def test_archive_is_none_for_missing_truncated_and_altered_parts() -> None:
    begin, first, second, end = transport_lines()
    (missing,) = parse_transmissions([begin, first, end], ATTEMPT)
    assert (missing.archive(), missing.missing) == (None, 1)
    (truncated,) = parse_transmissions([begin, first, second[:-3], end], ATTEMPT)
    assert truncated.archive() is None
    altered = first.replace(":part:1/2:AAEC", ":part:1/2:BBEC")
    assert altered != first
    (transmission,) = parse_transmissions([begin, altered, second, end], ATTEMPT)
    assert (transmission.archive(), transmission.missing) == (None, 0)
    (unfinished,) = parse_transmissions([begin, first, second], ATTEMPT)
    assert (unfinished.archive(), unfinished.missing) == (None, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        json.dumps(FIELDS | {"began": "yesterday"}).encode(),
        json.dumps({name: value for name, value in FIELDS.items() if name != "sha256"}).encode(),
    ],
)
def test_parse_exit_record_returns_none_for_malformed_json(data: bytes) -> None:
    assert parse_exit_record(data) is None


def test_is_transport_line_distinguishes_output_that_the_entry_point_has_indented() -> None:
    assert is_transport_line("@nel:a:b:part:1/1:")
    assert not is_transport_line(" @nel:a:b:part:1/1:")
