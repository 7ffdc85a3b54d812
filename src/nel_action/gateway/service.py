"""Life of one proxy process: listening, the counters' file, orderly shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
import time
from typing import Any

from nel_action.gateway.config import Config
from nel_action.gateway.counters import write_file
from nel_action.gateway.proxy import Proxy
from nel_action.gateway.server import ServerConnection

__all__ = ["Service"]

_BACKLOG = 4096
_OPEN_FILES = 65_536
_COUNTERS_INTERVAL = 1.0
"""Seconds."""
_GRACE = 10.0
"""Seconds that requests without a client may take to be recorded at the end."""


class Service:
    """A proxy that listens. Use as an asynchronous context manager."""

    def __init__(
        self, config: Config, *, host: str = "127.0.0.1", port: int = 0, listener: socket.socket | None = None
    ) -> None:
        """Prepare.

        Args:
            config: settings of the proxy.
            host: address to listen on.
            port: 0 for any free one.
            listener: a socket that listens already, instead of these.
        """
        self.config = config
        self._host = host
        self._port = port
        self._listener = listener
        self._connections: set[ServerConnection] = set()
        self._server: asyncio.AbstractServer | None = None
        self._counting: asyncio.Task[None] | None = None
        self.address = ""
        """`host:port` once it listens."""
        self.program: dict[str, int] = {}
        """`pid` of the harness and, after its end, `status`."""

    async def __aenter__(self) -> Service:  # noqa: PYI034 - Python 3.8 has no Self
        _raise_open_files()
        self._started = time.time()
        self.stopped = asyncio.Event()
        # NOTE: before the counters of the earlier pass are renamed, since it continues their budget.
        self.proxy = Proxy(self.config, on_stop=self._on_stop)
        _keep_counters(self.config.counters)
        loop = asyncio.get_event_loop()
        listening: dict[str, Any] = {"host": self._host, "port": self._port, "reuse_address": True}
        if self._listener is not None:
            listening = {"sock": self._listener}
        self._server = await loop.create_server(
            lambda: ServerConnection(self.proxy.handle, self._connections),
            **listening,
            backlog=_BACKLOG,
        )
        sockets: Any = self._server.sockets
        name = sockets[0].getsockname()
        self.address = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        self._counting = asyncio.ensure_future(self._count())
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None  # noqa: S101 - entered
        self._server.close()
        for connection in list(self._connections):
            connection.close()
        try:
            await asyncio.wait_for(self.proxy.close(), _GRACE)
        except asyncio.TimeoutError:
            sys.stderr.write(f"nel-action gateway: {self.proxy.in_flight} requests were given up at the end\n")
        for connection in list(self._connections):
            connection.abort()
        if self._counting is not None:
            self._counting.cancel()
        self.write_counters()

    @property
    def url(self) -> str:
        """Replacement for the endpoint's URL: same path, this address."""
        return f"http://{self.address}{self.proxy.upstream.path}"

    def _on_stop(self) -> None:
        self.write_counters()
        self.stopped.set()

    async def drain(self) -> None:
        """After a stop, wait for the requests that were sent before it: their answers are paid for."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.proxy.drain(), self.config.request_timeout)

    def write_counters(self) -> None:
        """Write the counters' file."""
        if self.config.counters:
            write_file(self.config.counters, {"started": self._started, **self.proxy.status(), "program": self.program})

    async def _count(self) -> None:
        while True:
            self.write_counters()
            await asyncio.sleep(_COUNTERS_INTERVAL)


def _keep_counters(path: str) -> None:
    """Rename the counters of an earlier pass to `<name>.<n>.<ending>`, the next free n from 1."""
    if not path or not os.path.exists(path):
        return
    stem, ending = os.path.splitext(path)
    number = 1
    while os.path.exists(f"{stem}.{number}{ending}"):
        number += 1
    os.rename(path, f"{stem}.{number}{ending}")


def _raise_open_files() -> None:
    """Allow as many open files as the system permits: each request in flight needs two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < target:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError):
            sys.stderr.write(f"nel-action gateway: at most {soft} open files\n")
