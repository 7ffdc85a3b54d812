"""A scripted model endpoint and an HTTP client for tests of the gateway, both on asyncio streams."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Client", "Endpoint", "Reply", "completion"]

ROUTE = "/v1/chat/completions"


def completion(content: str | None, *, finish_reason: str = "stop", model: str = "acme", **extra: object) -> bytes:
    """Return the body of a chat completion."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": content, **extra}}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return json.dumps({"model": model, "choices": [choice], "usage": usage}).encode()


@dataclass(frozen=True)
class Reply:
    """One response of the endpoint."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before the response."""
    raw: bytes | None = None
    """Bytes to send in place of a response, after which the connection is closed."""
    close: bool = False
    """Close the connection after the response without announcing it."""


@dataclass
class Received:
    """One request as the endpoint received it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


class Endpoint:
    """A model endpoint that answers each request with what `script` returns for it and its number, from 0."""

    def __init__(self, script: Callable[[int, Received], Reply] | None = None) -> None:
        self.script = script or (lambda number, _: Reply(completion(f"answer {number}")))
        self.received: list[Received] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def serve(self, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Serve on a free port; yield the URL of the chat route."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=tls, limit=1 << 26)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{self.port}{ROUTE}"
        finally:
            server.close()
            for writer in list(self._writers):
                writer.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while (request := await _read_request(reader)) is not None:
                number = len(self.received)
                self.received.append(request)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                reply = self.script(number, request)
                await asyncio.sleep(reply.delay)
                self.in_flight -= 1
                if reply.raw is not None:
                    writer.write(reply.raw)
                    break
                length = {} if reply.status == 204 else {"content-length": str(len(reply.body))}
                lines = {"content-type": "application/json", **length, **reply.headers}
                head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                writer.write(f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode())
                writer.write(b"" if request.method == "HEAD" else reply.body)
                if reply.close:
                    break
        except ConnectionError:
            return
        finally:
            self._writers.discard(writer)
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    start, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = start.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)


@dataclass(frozen=True)
class Response:
    """A response as the client received it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> str | None:
        content: str | None = json.loads(self.body)["choices"][0]["message"]["content"]
        return content


class Client:
    """One connection of a harness to the gateway."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, data: bytes) -> None:
        """Send raw bytes."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=1 << 26)
        self._streams[1].write(data)
        await self._streams[1].drain()

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request and read its response."""
        lines = {"Host": f"{self.host}:{self.port}", "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        return await self.read(method)

    async def ask(self, prompt: str = "hi", *, headers: Mapping[str, str] | None = None, **body: object) -> Response:
        """Send a chat request."""
        data = {"model": "acme", "messages": [{"role": "user", "content": prompt}], **body}
        return await self.request("POST", ROUTE, json.dumps(data).encode(), headers)

    async def read(self, method: str = "GET") -> Response:
        """Read one response."""
        assert self._streams is not None
        reader = self._streams[0]
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(start.split(" ")[1])
        if status == 100:
            return Response(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Response(status, headers, await _read_chunks(reader))
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        return Response(status, headers, await reader.readexactly(length))

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).strip(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


async def gather(*work: Awaitable[Response]) -> list[Response]:
    """Run requests at once."""
    return list(await asyncio.gather(*work))
