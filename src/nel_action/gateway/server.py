"""The side of the proxy that harnesses connect to: connections, requests and responses."""

from __future__ import annotations

import asyncio
import socket
from typing import Callable

from nel_action.gateway.http import (
    MAX_BODY,
    Headers,
    HttpError,
    MessageParser,
    RequestHead,
    ResponseHead,
    format_head,
    get_header,
    parse_request_head,
    response_has_body,
)

__all__ = ["Exchange", "ServerConnection"]

_REASONS = {
    100: b"Continue",
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    404: b"Not Found",
    413: b"Content Too Large",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
_IDLE = 3600.0
"""Seconds: harnesses keep connections open while they compute, so an idle one is closed late."""
_CONGESTED = 256 * 1024
"""Bytes waiting for a slow client from which on the response is read no further."""
_HEAD_TIME = 60.0
"""Seconds in which a started request must arrive at one byte per interval at least."""


class Exchange:
    """One request and the response to it."""

    __slots__ = ("_chunked", "_connection", "_on_sent", "_started", "body", "closed", "head", "on_closed")

    def __init__(self, connection: ServerConnection, head: RequestHead, body: bytes) -> None:
        self.head = head
        self.body = body
        self.closed = False
        """The client closed the connection before the response was sent completely."""
        self.on_closed: Callable[[], None] | None = None
        """Called once if the client closes the connection too early."""
        self._connection = connection
        self._chunked = False
        self._started = False
        self._on_sent: Callable[[], None] | None = None

    @property
    def started(self) -> bool:
        """Whether the response head has been sent."""
        return self._started

    def respond(self, status: int, headers: Headers, body: bytes, *, on_sent: Callable[[], None] | None = None) -> None:
        """Send a complete response.

        Args:
            status: HTTP status.
            headers: end-to-end headers, without a length.
            body: content; left out for HEAD.
            on_sent: called when the last byte has been handed to the operating system.
        """
        if self.closed:
            return
        lengths: Headers = [(b"content-length", b"%d" % len(body))] if status >= 200 and status != 204 else []  # noqa: PLR2004
        has_body = response_has_body(self.head.method, status)
        self._send_head(status, _REASONS.get(status, b""), headers + lengths, body if has_body else b"")
        self._finish(on_sent)

    def fail(self, status: int, message: str, kind: str = "gateway_error") -> None:
        """Answer with an error of the proxy itself, in the shape of OpenAI's errors.

        Args:
            status: HTTP status.
            message: one line.
            kind: type of the error.
        """
        text = '{"error": {"message": "nel-action gateway: %s", "type": "%s", "code": %d}}'
        body = (text % (message.replace("\\", "/").replace('"', "'"), kind, status)).encode()
        self.respond(status, [(b"content-type", b"application/json")], body)

    def start(self, response: ResponseHead, headers: Headers, length: int | None) -> None:
        """Send the head of a response whose body follows in pieces.

        Args:
            response: status and reason.
            headers: end-to-end headers, without a length.
            length: bytes of the body; None where it is not known yet.
        """
        if self.closed:
            return
        framing: Headers = []
        if length is not None:
            framing = [(b"content-length", b"%d" % length)]
        elif response_has_body(self.head.method, response.status):
            if self._connection.version_1_1:
                self._chunked = True
                framing = [(b"transfer-encoding", b"chunked")]
            else:
                self._connection.close_after_response()
        self._send_head(response.status, response.reason, headers + framing)

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self.closed or not data or self.head.method == b"HEAD":
            return
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self, *, on_sent: Callable[[], None] | None = None) -> None:
        """End a response begun with `start`."""
        if self.closed:
            return
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._finish(on_sent)

    def abort(self) -> None:
        """Close the connection, so that the client notices an incomplete response."""
        if not self.closed:
            self._connection.abort()

    @property
    def congested(self) -> bool:
        """Whether the client takes the response more slowly than it is sent."""
        return self._connection.congested

    async def drained(self) -> None:
        """Wait until the client has taken what was sent."""
        await self._connection.drained()

    def _send_head(self, status: int, reason: bytes, headers: Headers, body: bytes = b"") -> None:
        """Send the head of a response in one call of the system with its body, if that is known.

        Args:
            status: HTTP status.
            reason: phrase.
            headers: all but that of the connection.
            body: the complete body.
        """
        self._started = True
        if not (self.head.keep_alive and self._connection.keep_open):
            headers = [*headers, (b"connection", b"close")]
        elif not self._connection.version_1_1:
            headers = [*headers, (b"connection", b"keep-alive")]
        self._connection.write(format_head(b"HTTP/1.1 %d %b" % (status, reason), headers) + body)

    def _finish(self, on_sent: Callable[[], None] | None) -> None:
        self._connection.finished(self, on_sent)


class ServerConnection(asyncio.Protocol):
    """One client connection; requests are handled one after another."""

    def __init__(self, handle: Callable[[Exchange], None], connections: set) -> None:  # type: ignore[type-arg]
        self._handle = handle
        self._connections = connections
        self._parser = MessageParser(self._on_head, self._on_data, self._on_end, max_body=MAX_BODY)
        self._head: RequestHead | None = None
        self._body: list[bytes] = []
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._sending: Exchange | None = None
        self._on_sent: Callable[[], None] | None = None
        self._drain: list[asyncio.Future] = []  # type: ignore[type-arg]
        self._timer: asyncio.TimerHandle | None = None
        self.keep_open = True
        self.version_1_1 = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare a new connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server makes
        self._transport = transport
        self._connections.add(self)
        # NOTE: with a limit of 0 the transport reports at once whether bytes are left in its own buffer.
        transport.set_write_buffer_limits(0)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._expect(_IDLE)

    def connection_lost(self, error: BaseException | None) -> None:
        """Release what belongs to the connection and report the loss of an unfinished response."""
        del error
        self._connections.discard(self)
        self._cancel_timer()
        self._transport = None
        self._wake_drained()
        self._give_up()

    def data_received(self, data: bytes) -> None:
        """Parse bytes of a request."""
        if self._transport is None or not self.keep_open:
            return
        try:
            self._parser.feed(data)
        except HttpError as error:
            self._reject(error)
        # NOTE: only for requests that arrive in several pieces, since most arrive in one.
        if self._exchange is None and self._sending is None and self.keep_open:
            self._expect(_HEAD_TIME)

    def eof_received(self) -> bool:
        """Treat a client that closes before its response as gone, as other proxies do; it may be only half closed."""
        self.keep_open = False
        if self._exchange is None and self._sending is not None:
            return True
        # NOTE: at once, not in `connection_lost`: the client's retry on another connection may be the next event.
        self._give_up()
        return False

    def pause_writing(self) -> None:
        """Note that bytes wait in the transport's buffer; `resume_writing` follows."""

    def resume_writing(self) -> None:
        """Report that everything written has been handed to the operating system."""
        self._wake_drained()
        self._report_sent()

    def write(self, data: bytes) -> None:
        """Write bytes."""
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the transport's buffer is empty or the connection is lost."""
        if self._transport is not None and self._transport.get_write_buffer_size():
            waiter = asyncio.get_event_loop().create_future()
            self._drain.append(waiter)
            await waiter

    @property
    def congested(self) -> bool:
        """Whether many bytes wait in the transport's buffer."""
        return self._transport is not None and self._transport.get_write_buffer_size() > _CONGESTED

    def close_after_response(self) -> None:
        """Close the connection when the current response has been sent."""
        self.keep_open = False

    def abort(self) -> None:
        """Close the connection without sending what is left."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection if no request is being handled; otherwise after its response."""
        self.keep_open = False
        if self._transport is not None and self._exchange is None and self._sending is None:
            self._transport.close()

    def finished(self, exchange: Exchange, on_sent: Callable[[], None] | None) -> None:
        """Note that a response has been written completely, and continue with the next request."""
        self._exchange = None
        self._sending, self._on_sent = exchange, on_sent
        transport = self._transport
        if transport is not None and not transport.get_write_buffer_size():
            self._report_sent()
        if not (exchange.head.keep_alive and self.keep_open):
            self.keep_open = False
            if transport is not None:
                transport.close()
            return
        self._expect(_IDLE)
        # NOTE: from the event loop, or pipelined requests that are answered at once would nest without limit.
        asyncio.get_event_loop().call_soon(self._continue)

    def _continue(self) -> None:
        if self._transport is None or self._exchange is not None:
            return
        if self._sending is not None:  # the previous response is still in the buffer
            asyncio.get_event_loop().call_later(0.005, self._continue)
            return
        try:
            self._parser.resume()
        except HttpError as error:
            self._reject(error)

    def _report_sent(self) -> None:
        if self._sending is not None:
            on_sent, self._sending, self._on_sent = self._on_sent, None, None
            if on_sent is not None:
                on_sent()

    def _on_head(self, data: bytes) -> None:
        head = parse_request_head(data)
        self._head = head
        self._body.clear()
        self.version_1_1 = data.partition(b"\r\n")[0].endswith(b"HTTP/1.1")
        self._parser.expect_body(head.headers, until_close=False)
        expect = get_header(head.headers, b"expect")
        if expect is not None and expect.lower() == b"100-continue" and self.version_1_1:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _on_data(self, data: bytes) -> None:
        self._body.append(data)

    def _on_end(self) -> None:
        assert self._head is not None  # noqa: S101 - on_head runs first
        self._cancel_timer()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._exchange = Exchange(self, self._head, body)
        # NOTE: after the other events of this turn, among which may be the end of the connection that it retries.
        asyncio.get_event_loop().call_soon(self._handle_unless_closed, self._exchange)

    def _handle_unless_closed(self, exchange: Exchange) -> None:
        if not exchange.closed:
            self._handle(exchange)

    def _give_up(self) -> None:
        """Report that the client is gone before its response was sent."""
        unfinished = self._exchange or self._sending
        self._exchange = self._sending = self._on_sent = None
        if unfinished is not None:
            unfinished.closed = True
            if unfinished.on_closed is not None:
                unfinished.on_closed()

    def _wake_drained(self) -> None:
        for waiter in self._drain:
            if not waiter.done():
                waiter.set_result(None)
        self._drain.clear()

    def _reject(self, error: HttpError) -> None:
        """Answer a malformed request and close, since the position in the stream is lost."""
        self.keep_open = False
        exchange = Exchange(self, RequestHead(b"GET", b"/", [], keep_alive=False), b"")
        self._exchange = exchange
        exchange.fail(error.status, str(error), "invalid_request_error")

    def _expect(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = asyncio.get_event_loop().call_later(seconds, self._expired)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expired(self) -> None:
        if self._exchange is None and self._transport is not None:
            self._transport.abort()
