"""Signals: an event where leaving takes care, an error where nothing was begun."""

from __future__ import annotations

import os
import signal

import pytest

from nel_action.errors import CancelledError
from nel_action.github.signals import CancelSignals


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    signals = CancelSignals()
    with signals.listening():
        send(number)
        assert signals.event.wait(5)
        with pytest.raises(CancelledError):
            send(signal.SIGTERM)


def test_where_nothing_was_begun_the_first_leaves_at_once() -> None:
    signals = CancelSignals()
    with signals.listening(), signals.interrupting(), pytest.raises(CancelledError):
        send(signal.SIGINT)


def test_what_came_before_is_not_forgotten() -> None:
    signals = CancelSignals()
    with signals.listening():
        send(signal.SIGINT)
        with pytest.raises(CancelledError), signals.interrupting():
            pytest.fail("nothing is begun after a cancel")


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with CancelSignals().listening():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
