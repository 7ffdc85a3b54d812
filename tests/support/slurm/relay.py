"""A relay before a server, whose connections can be cut at any moment."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Self

__all__ = ["Relay"]


class Relay:
    """Passes bytes between its own port and another of the loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.bytes_up = 0
        """Bytes that clients have sent so far."""
        self.bytes_down = 0
        """Bytes that servers have sent so far."""
        self.refusing = False
        """Cut every new connection at once, as a firewall that has had enough."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for one in (end for pair in pairs for end in pair):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut_after(self, seconds: float) -> threading.Thread:
        """Reset every connection after that time; return the thread that does."""

        def later() -> None:
            time.sleep(seconds)
            self.cut()

        thread = threading.Thread(target=later, daemon=True)
        thread.start()
        return thread

    def cut_after_bytes(self, count: int) -> None:
        """Reset every connection once servers have sent that many more bytes."""
        goal = self.bytes_down + count

        def later() -> None:
            while self.bytes_down < goal:
                time.sleep(0.001)
            self.cut()

        threading.Thread(target=later, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.refusing:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._pairs.append((near, far))
                threading.Thread(target=self._pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:  # noqa: FBT001 a thread's argument
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
                self.bytes_up += len(data) if up else 0
                self.bytes_down += 0 if up else len(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
