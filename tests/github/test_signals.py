"""Cancel signals: an event while jobs run, an exception before anything is submitted."""

from __future__ import annotations

import os
import signal

import pytest

from nel_action.errors import CancelledError
from nel_action.github.signals import CancelSignals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_sets_event_and_second_raises(number: signal.Signals) -> None:
    signals = CancelSignals()
    with signals.installed():
        send(number)
        assert signals.event.wait(5)
        with pytest.raises(CancelledError):
            send(signal.SIGTERM)


def test_first_signal_raises_inside_raising() -> None:
    signals = CancelSignals()
    with signals.installed(), signals.raising(), pytest.raises(CancelledError):
        send(signal.SIGINT)


def test_raising_raises_for_an_earlier_signal() -> None:
    signals = CancelSignals()
    with signals.installed():
        send(signal.SIGINT)
        with pytest.raises(CancelledError), signals.raising():
            pytest.fail("the body must not run after a cancellation")


def test_previous_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with CancelSignals().installed():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
