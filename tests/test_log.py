from __future__ import annotations

import io
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nel_action.log import configure_logging, log_to_file
from nel_action.redaction import Redactor

LOGGER = logging.getLogger("nel_action.example")


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    root = logging.getLogger("nel_action")
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def lines(verbosity: int) -> list[str]:
    handler = configure_logging(verbosity, redact=Redactor(["hunter22"]))
    assert isinstance(handler, logging.StreamHandler)
    out = io.StringIO()
    handler.setStream(out)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        LOGGER.log(level, "key is %s", "hunter22")
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("verbosity", "count"), [(0, 1), (1, 2), (2, 3), (5, 3)])
def test_verbosity_chooses_the_least_level(verbosity: int, count: int) -> None:
    assert len(lines(verbosity)) == count


def test_messages_are_redacted() -> None:
    assert all("key is ***" in line and "hunter22" not in line for line in lines(2))


def test_the_text_of_an_exception_is_redacted_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.log"
    log_to_file(path, redact=Redactor(["hunter22"]))
    LOGGER.error("request failed", exc_info=ValueError("Bearer hunter22"))
    text = path.read_text()
    assert "ValueError: Bearer ***" in text
    assert "hunter22" not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unconfigured_logger_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    LOGGER.warning("nobody listens")
    assert capfd.readouterr() == ("", "")
