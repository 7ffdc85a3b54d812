from __future__ import annotations

import logging
from threading import Event

import pytest

from nel_action.executors.slurm import notices
from nel_action.executors.slurm.notices import waiting_for


class Reported(logging.Handler):
    """Sets an event at the second message."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.twice = Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if len(self.messages) == 2:
            self.twice.set()


def test_long_wait_is_reported_repeatedly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "NOTICE_SECONDS", 0.05)
    handler = Reported()
    notices.logger.addHandler(handler)
    try:
        with waiting_for("jobs to stop"), waiting_for("an answer of squeue"):
            assert handler.twice.wait(60)
    finally:
        notices.logger.removeHandler(handler)
    assert handler.messages[:2] == ["waiting for jobs to stop (0.05 s)", "waiting for jobs to stop (0.1 s)"]
    count = len(handler.messages)
    with waiting_for("nothing"):
        pass
    assert len(handler.messages) == count


def test_default_interval_is_ten_seconds() -> None:
    assert notices.NOTICE_SECONDS == 10
