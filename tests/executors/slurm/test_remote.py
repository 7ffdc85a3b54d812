from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from tests.support.slurm.settings import open_remote, slurm_settings

from nel_action.errors import EngineError, UnreachableError
from nel_action.executors.slurm.remote import RemoteShell, retry_outages
from nel_action.executors.slurm.transport import CommandResult, ControllerDownError
from nel_action.retry import Backoff


class Garbled:
    """A transport whose shell ignores its input."""

    host = "login"

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> CommandResult:
        del argv, stdin, seconds
        return CommandResult(1, b"This account is not available.\n", b"nologin\n")

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def test_remote_shell_rejects_output_without_frames() -> None:
    with pytest.raises(EngineError, match="unexpected output of the shell on login: nologin"):
        RemoteShell(Garbled()).run(["true"])


def test_remote_shell_logs_commands_but_no_input(caplog: pytest.LogCaptureFixture) -> None:
    remote = open_remote(slurm_settings(None), {"PATH": "/usr/bin:/bin"})
    with caplog.at_level(logging.DEBUG, logger="nel_action"):
        remote.run(["sh", "-c", "echo oops >&2\nexit 3"], ["printf", *(str(number) for number in range(40))])
        remote.run_once(["cat"], stdin=b"sk-made-up")
    assert "sh -c <20 characters> -> status 3, 0 bytes: oops" in caplog.text
    assert "10 <29 more> -> status 0" in caplog.text
    assert "cat -> status 0, 10 bytes" in caplog.text
    assert "sk-made-up" not in caplog.text


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (UnreachableError("cut off"), 3),
        (ControllerDownError("controller down"), 3),
        (EngineError("key rejected"), 1),
        (ValueError("a bug"), 1),
    ],
)
def test_retry_outages_repeats_temporary_errors_only(
    error: Exception, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nel_action.executors.slurm.remote.OUTAGE_BACKOFF", Backoff(initial=0.001, maximum=0.001))
    count = 0

    def fail_twice() -> int:
        nonlocal count
        count += 1
        if count < 3:
            raise error
        return count

    if calls == 3:
        assert retry_outages(fail_twice, 10) == 3
    else:
        with pytest.raises(type(error)):
            retry_outages(fail_twice, 10)
    assert count == calls


def test_retry_outages_makes_one_call_without_a_timeout() -> None:
    count = 0

    def fail() -> None:
        nonlocal count
        count += 1
        msg = "cut off"
        raise UnreachableError(msg)

    with pytest.raises(UnreachableError, match="cut off"):
        retry_outages(fail, 0)
    assert count == 1
