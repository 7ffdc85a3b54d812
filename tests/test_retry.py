from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.retry import Backoff, parse_retry_after, poll_until, retry

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeClock:
    def __init__(self) -> None:
        self.time = 100.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error
        return "answer"

    return call


@given(initial=st.floats(0.001, 10), factor=st.floats(1, 4), maximum=st.floats(10, 100), jitter=st.floats(0, 1))
def test_delays_grow_and_stay_between_the_jittered_pause_and_the_maximum(
    initial: float, factor: float, maximum: float, jitter: float
) -> None:
    expected = initial
    for pause in islice(Backoff(initial=initial, factor=factor, maximum=maximum, jitter=jitter).delays(), 20):
        assert expected * (1 - jitter) <= pause <= expected <= maximum
        expected = min(expected * factor, maximum)


def test_retry_returns_the_first_answer_and_doubles_its_pauses() -> None:
    clock = FakeClock()
    answer = retry(
        failing(3, OSError()), delay=lambda _: 0.0, backoff=Backoff(jitter=0), sleep=clock.sleep, clock=clock.now
    )
    assert (answer, clock.pauses) == ("answer", [0.5, 1.0, 2.0])


def test_retry_waits_at_least_as_long_as_the_error_asks_for() -> None:
    clock = FakeClock()
    retry(failing(1, OSError()), delay=lambda _: 7.0, backoff=Backoff(jitter=0), sleep=clock.sleep, clock=clock.now)
    assert clock.pauses == [7.0]


def test_retry_raises_at_once_what_is_not_worth_repeating() -> None:
    clock = FakeClock()
    with pytest.raises(KeyError):
        retry(failing(1, KeyError("x")), delay=lambda _: None, sleep=clock.sleep, clock=clock.now)
    assert not clock.pauses


def test_retry_raises_the_last_error_after_its_tries() -> None:
    clock = FakeClock()
    with pytest.raises(OSError, match="down"):
        retry(failing(9, OSError("down")), delay=lambda _: 0.0, tries=3, sleep=clock.sleep, clock=clock.now)
    assert len(clock.pauses) == 2


def test_retry_never_pauses_beyond_its_deadline() -> None:
    clock = FakeClock()
    with pytest.raises(OSError, match="down"):
        retry(
            failing(99, OSError("down")),
            delay=lambda _: 0.0,
            deadline=clock.time + 10,
            backoff=Backoff(jitter=0),
            sleep=clock.sleep,
            clock=clock.now,
        )
    assert clock.time < 110
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0]


def answers(*values: str | None) -> Callable[[], str | None]:
    left: Iterator[str | None] = iter(values)
    return lambda: next(left)


def test_poll_until_returns_the_first_result() -> None:
    clock = FakeClock()
    result = poll_until(answers(None, None, "ready"), deadline=None, sleep=clock.sleep, clock=clock.now)
    assert result == "ready"
    assert len(clock.pauses) == 2


def test_poll_until_looks_once_more_at_the_deadline() -> None:
    clock = FakeClock()
    result = poll_until(
        answers(None, None, "late"),
        deadline=clock.time + 0.7,
        backoff=Backoff(jitter=0),
        sleep=clock.sleep,
        clock=clock.now,
    )
    assert result == "late"
    assert clock.time == pytest.approx(100.7)


def test_poll_until_returns_none_after_the_deadline() -> None:
    clock = FakeClock()
    assert poll_until(lambda: None, deadline=clock.time + 3, sleep=clock.sleep, clock=clock.now) is None
    assert clock.time == pytest.approx(103)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10.0),
        ("Fri, 02 Jan 2026 03:04:15", 10.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        ("999999999", 86_400.0),
        (None, None),
        ("", None),
        ("-3", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
    ],
)
def test_parse_retry_after(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == expected
