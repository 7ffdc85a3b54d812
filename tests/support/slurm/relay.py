"""A TCP relay in front of a server, whose connections a test can cut at any moment."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Self

__all__ = ["Relay"]


class Relay:
    """Forwards bytes between its own port and another port of the loopback interface."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._cut_at: int | None = None
        self.bytes_up = 0
        """Bytes sent by clients so far."""
        self.bytes_down = 0
        """Bytes sent by servers so far."""
        self.refusing = False
        """Whether new connections are closed immediately."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut_after(self, seconds: float) -> threading.Thread:
        """Reset all connections after a delay; return the thread that does."""

        def cut_later() -> None:
            time.sleep(seconds)
            self.cut()

        thread = threading.Thread(target=cut_later, daemon=True)
        thread.start()
        return thread

    def cut_after_bytes(self, count: int) -> None:
        """Reset all connections as soon as servers have sent that many more bytes."""
        self._cut_at = self.bytes_down + count

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((client, server))
                threading.Thread(target=self._forward_up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._forward_down, args=(server, client), daemon=True).start()

    def _forward_up(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
                self.bytes_up += len(data)
        _shut_down(client, server)

    def _forward_down(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
                self.bytes_down += len(data)
                if self._cut_at is not None and self.bytes_down >= self._cut_at:
                    self._cut_at = None
                    self.cut()
        _shut_down(client, server)


def _shut_down(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
