"""A Unix socket in front of another one that can be closed and opened: a Docker engine that goes away and returns."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

__all__ = ["ProxySocket"]


class ProxySocket:
    """Forwards connections to a socket; containers of an engine behind it run on while it is closed."""

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self._target = target
        self._connections: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Accept connections; does nothing if it is open."""
        if self._listener is not None:
            return
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Break all connections and accept none."""
        if self._listener is None:
            return
        self.path.unlink()
        _shut(self._listener)
        self._listener = None
        for connection in self._connections:
            _shut(connection)
        self._connections.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._connections += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=_forward, args=(source, sink), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
