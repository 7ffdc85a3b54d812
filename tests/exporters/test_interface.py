from __future__ import annotations

from collections.abc import Callable

import pytest

from nel_action.exporters.interface import Change, DestinationError, ExportError, export_each, retry_busy


def fail(error: Exception, calls: list[str], name: str = "x") -> Callable[[], tuple[Change, str]]:
    def call() -> tuple[Change, str]:
        calls.append(name)
        raise error

    return call


def test_retry_busy_waits_longer_each_time() -> None:
    waits: list[float] = []
    with pytest.raises(DestinationError):
        retry_busy(fail(DestinationError("busy"), []), sleep=waits.append)
    assert len(waits) == 3
    assert all(longest * 0.9 <= wait <= longest for wait, longest in zip(waits, (1, 2, 4), strict=True))


def test_retry_busy_limits_the_wait_that_a_destination_asks_for() -> None:
    waits: list[float] = []
    with pytest.raises(DestinationError):
        retry_busy(fail(DestinationError("busy", retry_after=3600), []), tries=2, sleep=waits.append)
    assert waits == [120.0]


def test_retry_busy_does_not_repeat_rejected_exports() -> None:
    calls: list[str] = []
    with pytest.raises(ExportError):
        retry_busy(fail(ExportError("rejected"), calls), sleep=lambda _seconds: None)
    assert calls == ["x"]


def test_export_each_reports_a_failed_item_and_continues() -> None:
    items = export_each([("a", fail(ExportError("rejected"), [])), ("b", lambda: (Change.CREATED, "address"))])
    assert [(item.what, item.change, item.where, item.problem) for item in items] == [
        ("a", Change.FAILED, None, "rejected"),
        ("b", Change.CREATED, "address", None),
    ]


def test_export_each_tries_once_after_the_destination_was_unavailable() -> None:
    calls: list[str] = []
    names = ("a", "b", "c")
    items = export_each(
        [(name, fail(DestinationError("busy"), calls, name)) for name in names], sleep=lambda _seconds: None
    )
    assert calls == ["a"] * 4 + ["b", "c"]
    assert {item.change for item in items} == {Change.FAILED}
