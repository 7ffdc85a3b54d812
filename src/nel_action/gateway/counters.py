"""Counters of one pass, and the file that shows them to the executor while the harness runs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from typing import Any

__all__ = ["Counters", "add", "write_file", "write_text"]

_BUCKETS_PER_DOUBLING = 8
"""Latencies are counted in buckets whose bounds grow by 9 %, the error of a quantile."""
_FASTEST = 0.0001


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
        """Requests that needed more than one try."""
        self.paid = 0
        """Answers received, malformed ones included."""
        self.malformed = 0
        self.passed_through = 0
        """Requests on other routes, and streams."""
        self.flags: dict[str, int] = {}
        """Delivered answers with each flag (see `answers`)."""
        self.used_tokens: dict[str, int] = {}
        """Tokens of delivered answers, replayed ones included."""
        self.paid_tokens: dict[str, int] = {}
        """Tokens of answers received in this pass."""
        self.without_usage = 0
        """Answers received without token counts."""
        self.live_models: set[str] = set()
        self.replayed_models: set[str] = set()
        self.statuses: dict[str, int] = {}
        """Failed tries by status or kind of failure."""
        self._latencies: dict[int, int] = {}

    def add_latency(self, seconds: float) -> None:
        """Count the time from the last try's start to its complete answer."""
        bucket = round(_BUCKETS_PER_DOUBLING * math.log2(max(seconds, _FASTEST) / _FASTEST))
        self._latencies[bucket] = self._latencies.get(bucket, 0) + 1

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
        for name, share in (("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95)):
            values[name] = self.latency_ms(share)
        return values


def add(totals: dict[str, int], values: dict[str, int]) -> None:
    """Add counts to totals, name by name."""
    for name, value in values.items():
        totals[name] = totals.get(name, 0) + value


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
