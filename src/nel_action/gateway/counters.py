"""Counters of one pass, and the file that shows them to the executor while the harness runs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from typing import Any, Mapping

from nel_action.gateway.answers import Answer
from nel_action.gateway.spending import AMOUNTS, read_amounts

__all__ = ["Counters", "add", "read_earlier", "write_file", "write_text"]

_BUCKETS_PER_DOUBLING = 8
"""Latencies are counted in buckets whose bounds grow by 9 %, the error of a quantile."""
_FASTEST = 0.0001
_MAX_NAMES = 32
"""Finish reasons that are distinguished; a hostile endpoint must not fill the memory."""


class Counters:
    """What happened in one pass: a pass begins with each start of the harness."""

    def __init__(self) -> None:
        self.requests = 0
        """Recorded routes: requests of the harness."""
        self.delivered = 0
        """Requests answered completely with a usable answer."""
        self.replayed = 0
        """Delivered from the record."""
        self.joined = 0
        """Attached to a request that was still running for an earlier connection."""
        self.failed = 0
        """Requests without a usable answer after all tries."""
        self.tries = 0
        """Requests sent upstream."""
        self.retried = 0
        """Delivered answers that needed more than one try; of replayed ones when they were recorded."""
        self.paid = 0
        """Answers received, malformed ones included."""
        self.malformed = 0
        self.passed_through = 0
        """Requests on other routes, and streams."""
        self.flags: dict[str, int] = {}
        """Delivered answers with each flag (see `answers`)."""
        self.finish_reasons: dict[str, int] = {}
        """Of the choices of delivered answers."""
        self.used = dict.fromkeys(AMOUNTS, 0)
        """Delivered answers and their tokens, replayed ones included."""
        self.live_models: set[str] = set()
        self.replayed_models: set[str] = set()
        self.statuses: dict[str, int] = {}
        """Failed tries by status or kind of failure."""
        self._latencies: dict[int, int] = {}
        self._seconds = 0.0
        self._undelivered: set[tuple[bytes, int]] = set()
        """Requests that failed, or whose client went away, and that were not answered since."""

    def deliver(self, request: tuple[bytes, int], answer: Answer, *, latency: float, tries: int) -> None:
        """Count an answer that the harness has received.

        Args:
            request: key and number.
            answer: as it was delivered.
            latency: seconds from the last try's start to the complete answer.
            tries: requests that were sent for it.
        """
        self._undelivered.discard(request)
        self.delivered += 1
        self.retried += tries > 1
        self.used["requests"] += 1
        self.used["without_usage"] += not answer.usage
        add(self.used, answer.usage)
        add(self.flags, dict.fromkeys(answer.flags, 1))
        for reason in answer.finish_reasons:
            if reason in self.finish_reasons or len(self.finish_reasons) < _MAX_NAMES:
                add(self.finish_reasons, {reason: 1})
        self._seconds += latency
        bucket = round(_BUCKETS_PER_DOUBLING * math.log2(max(latency, _FASTEST) / _FASTEST))
        self._latencies[bucket] = self._latencies.get(bucket, 0) + 1

    def miss(self, request: tuple[bytes, int]) -> None:
        """Count a request as unanswered, until the same request is answered."""
        self._undelivered.add(request)

    @property
    def health(self) -> dict[str, Any]:
        """How many requests were answered, and how: what decides whether scores can be judged."""
        flags = self.flags
        return {
            "requests": self.delivered + len(self._undelivered),
            "unanswered": len(self._undelivered) + flags.get("no_text", 0),
            "failed": len(self._undelivered),
            **{name: flags.get(name, 0) for name in ("empty", "cut", "filtered")},
            "retried": self.retried,
            "latency_mean_ms": round(1000 * self._seconds / self.delivered, 2) if self.delivered else None,
            "latency_p50_ms": self.latency_ms(0.5),
            "latency_p95_ms": self.latency_ms(0.95),
        }

    def latency_ms(self, share: float) -> float | None:
        """Return a quantile of the latencies in milliseconds; None without any."""
        total = sum(self._latencies.values())
        seen = 0
        for bucket in sorted(self._latencies):
            seen += self._latencies[bucket]
            if seen >= share * total:
                return round(1000 * _FASTEST * 2 ** (bucket / _BUCKETS_PER_DOUBLING), 2)
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return all counters for the file."""
        values = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        values["live_models"] = sorted(self.live_models)
        values["replayed_models"] = sorted(self.replayed_models)
        return {**values, "health": self.health}


def add(totals: dict[str, int], values: dict[str, int]) -> None:
    """Add counts to totals, name by name."""
    for name, value in values.items():
        totals[name] = totals.get(name, 0) + value


def read_earlier(path: str, header: Mapping[str, str]) -> dict[str, int]:
    """Return what earlier passes of the same invocation and job paid, by the counters' file; empty if it is another's.

    Args:
        path: of the file; may not exist.
        header: `key` and `invocation` of this pass.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except (OSError, ValueError):
        return {}
    known = values.get("header") if isinstance(values, dict) else None
    if not isinstance(known, dict) or any(known.get(name) != header.get(name) for name in ("key", "invocation")):
        return {}
    return read_amounts(values.get("paid_total"))


def write_file(path: str, values: dict[str, Any]) -> None:
    """Replace a JSON file; a full disk is no error, since the next write may succeed."""
    with contextlib.suppress(OSError):
        write_text(path, json.dumps({"updated": time.time(), **values}))


def write_text(path: str, text: str) -> None:
    """Replace a file atomically; mode 0600."""
    partial = f"{path}.{os.getpid()}"
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
