"""Waiting for something, unless something else says first why not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from nel_action.executors.local.record import AttemptError

__all__ = ["unless"]

T = TypeVar("T")


async def unless(work: Awaitable[T], *stops: asyncio.Future[AttemptError], limit: float | None = None) -> T:
    """Wait for `work`, unless one of `stops` says first why not.

    Raises:
        AttemptError: what the stop said.
        TimeoutError: `limit` seconds are over.
    """
    task = asyncio.ensure_future(work)
    try:
        waits: list[asyncio.Future[Any]] = [task, *stops]
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        for stop in stops:
            if stop.done():
                raise stop.result()
        raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
