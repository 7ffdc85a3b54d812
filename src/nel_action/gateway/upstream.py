"""The side of the proxy that talks to the model endpoint: connection pool, TLS, HTTP proxies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import Callable
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from nel_action.gateway.http import (
    Headers,
    HttpError,
    MessageParser,
    ResponseHead,
    format_head,
    parse_response_head,
    response_has_body,
)

__all__ = ["ReceiveTimeoutError", "Receiver", "Upstream", "UpstreamError"]

_IDLE = 15.0
"""Seconds after which an idle connection is not used again."""
_CONNECTING = 64
"""Connections that are opened at once: more lose SYN packets and wait for their retransmission."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UpstreamError(Exception):
    """The endpoint could not be reached, or closed the connection before its response was complete."""


class ReceiveTimeoutError(UpstreamError):
    """The response was not complete in time."""


class Receiver(ABC):
    """Takes a response as it arrives."""

    @abstractmethod
    def head(self, head: ResponseHead) -> None:
        """Take the head; informational responses are left out."""

    @abstractmethod
    def data(self, data: bytes) -> None:
        """Take a piece of the body."""

    @property
    def backlog(self) -> Callable[[], asyncio.Future[None]] | None:
        """Returns an awaitable that completes when more data can be taken; None if that is always so."""
        return None


class _Connection(asyncio.Protocol):
    """One connection to the endpoint; one request at a time."""

    def __init__(self, pool: Upstream) -> None:
        self._pool = pool
        self._parser = MessageParser(self._on_head, self._receive, self._on_end)
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[None] | None = None
        self._receiver: Receiver | None = None
        self._method = b""
        self._keep = True
        self.received = False
        """Whether a byte of the current response has arrived."""
        self.idle_since = 0.0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection makes
        self._transport = transport
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def replace_transport(self, transport: asyncio.Transport) -> None:
        """Continue on a transport that encrypts."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._done is None:
            self.close()  # bytes that nothing asked for
            return
        self.received = True
        try:
            self._parser.feed(data)
        except HttpError as error:
            self._fail(UpstreamError(f"the endpoint's response is not valid HTTP: {error}"))

    def eof_received(self) -> bool:
        if self._done is not None and self.received:
            self._keep = False
            if self._parser.end_of_stream():
                return False
        self._fail(UpstreamError("the endpoint closed the connection before its response was complete"))
        return False

    def connection_lost(self, error: BaseException | None) -> None:
        self.closed = True
        self._pool.forget(self)
        self._fail(UpstreamError(str(error) or "the endpoint closed the connection"))

    def request(self, method: bytes, message: bytes, receiver: Receiver) -> asyncio.Future[None]:
        """Send a request.

        Args:
            method: HTTP method, which decides whether the response has a body.
            message: the complete request.
            receiver: takes the response.

        Returns:
            A future that completes with the response, or fails with `UpstreamError`.
        """
        assert self._transport is not None  # noqa: S101 - connected
        self._done = asyncio.get_event_loop().create_future()
        self._receiver, self._method, self.received = receiver, method, False
        if self._parser.stopped:
            self._parser.resume()
        self._transport.write(message)
        return self._done

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent."""
        return not self.closed and self._keep and self._transport is not None and not self._transport.is_closing()

    def pause(self, until: asyncio.Future[None]) -> None:
        """Stop reading until the client has taken what was sent."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            until.add_done_callback(lambda _: self._resume())

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _on_head(self, data: bytes) -> None:
        head = parse_response_head(data)
        if head.status < 200:  # noqa: PLR2004 - informational: the response proper follows
            self._parser.expect_no_body()
            return
        self._keep = head.keep_alive
        if response_has_body(self._method, head.status):
            self._parser.expect_body(head.headers, until_close=True)
        else:
            self._parser.expect_no_body()
        self._current = head
        assert self._receiver is not None  # noqa: S101 - set by request
        self._receiver.head(head)

    _current: ResponseHead | None = None

    def _receive(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.data(data)
            wait = self._receiver.backlog
            if wait is not None:
                self.pause(wait())

    def _on_end(self) -> None:
        if self._current is None:
            asyncio.get_event_loop().call_soon(self._after_informational)
            return
        self._current = None
        done, self._done, self._receiver = self._done, None, None
        if done is not None and not done.done():
            done.set_result(None)

    def _after_informational(self) -> None:
        try:
            self._parser.resume()
        except HttpError as error:
            self._fail(UpstreamError(f"the endpoint's response is not valid HTTP: {error}"))

    def _fail(self, error: UpstreamError) -> None:
        done, self._done, self._receiver = self._done, None, None
        if done is not None and not done.done():
            done.set_exception(error)
        self.close()


class Upstream:
    """An endpoint, and the connections to it."""

    def __init__(self, url: str, *, ca_file: str | None = None, timeout: float = 600.0) -> None:
        """Parse the address.

        Args:
            url: of the endpoint's route (`https://models.example/v1/chat/completions`).
            ca_file: certificates to trust; by default those of `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` or the system.
            timeout: seconds for one complete response.

        Raises:
            ValueError: the URL is not an HTTP URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            msg = f"{url!r} is not an http:// or https:// URL"
            raise ValueError(msg)
        self.url = url
        self.path = parts.path or "/"
        self.host = parts.hostname
        self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.timeout = timeout
        self.authority = parts.netloc.rpartition("@")[2].encode("ascii")
        self._tls = _tls_context(ca_file) if parts.scheme == "https" else None
        self._proxy = _proxy_for(parts.scheme, self.host, self.port)
        self._idle: deque[_Connection] = deque()
        self._opening: asyncio.Semaphore | None = None

    def forget(self, connection: _Connection) -> None:
        """Remove a closed connection from the idle ones."""
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def exchange(self, method: bytes, target: bytes, headers: Headers, body: bytes, receiver: Receiver) -> None:
        """Send one request and pass the response to the receiver.

        An idle connection that dies before the first byte of the response is replaced once by a new one: the endpoint
        closed it while the request was under way.

        Args:
            method: HTTP method.
            target: path with query.
            headers: end-to-end headers, without Host and Content-Length.
            body: content; may be empty.
            receiver: takes the response.

        Raises:
            UpstreamError: no complete response.
        """
        if self._tls is None and self._proxy is not None:
            target = b"http://" + self.authority + target
            headers = headers + self._proxy_headers()
        message = format_head(
            b"%b %b HTTP/1.1" % (method, target),
            [(b"host", self.authority), *headers, *_length(method, body)],
        )
        deadline = time.monotonic() + self.timeout
        reused = self._reuse()
        if reused is not None:
            try:
                return await self._ask(reused, method, message + body, receiver, deadline)
            except ReceiveTimeoutError:
                raise
            except UpstreamError:
                if reused.received:
                    raise
        return await self._ask(await self._open(deadline), method, message + body, receiver, deadline)

    async def _ask(
        self, connection: _Connection, method: bytes, message: bytes, receiver: Receiver, deadline: float
    ) -> None:
        done = connection.request(method, message, receiver)
        try:
            await asyncio.wait_for(done, max(0.001, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            connection.close()
            msg = f"no complete response within {self.timeout:g} s"
            raise ReceiveTimeoutError(msg) from None
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def _reuse(self) -> _Connection | None:
        oldest = time.monotonic() - _IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    async def _open(self, deadline: float) -> _Connection:
        if self._opening is None:
            self._opening = asyncio.Semaphore(_CONNECTING)
        async with self._opening:
            try:
                return await asyncio.wait_for(self._connect(), max(0.001, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                msg = f"no connection to {self.host} within {self.timeout:g} s"
                raise ReceiveTimeoutError(msg) from None
            except (OSError, ssl.SSLError) as error:
                msg = f"cannot connect to {self.host}:{self.port}: {error}"
                raise UpstreamError(msg) from error

    async def _connect(self) -> _Connection:
        loop = asyncio.get_event_loop()
        if self._proxy is None:
            _, connection = await loop.create_connection(
                lambda: _Connection(self),
                self.host,
                self.port,
                ssl=self._tls,
                server_hostname=self.host if self._tls else None,
            )
            return connection
        proxy_host, proxy_port = self._proxy[:2]
        if self._tls is None:
            _, connection = await loop.create_connection(lambda: _Connection(self), proxy_host, proxy_port)
            return connection
        return await self._connect_through(proxy_host, proxy_port)

    async def _connect_through(self, proxy_host: str, proxy_port: int) -> _Connection:
        """Open a tunnel through an HTTP proxy and encrypt it (RFC 9110, 9.3.6)."""
        loop = asyncio.get_event_loop()
        transport, connection = await loop.create_connection(lambda: _Connection(self), proxy_host, proxy_port)
        peer = b"%b:%d" % (self.host.encode("idna"), self.port)
        head = format_head(b"CONNECT %b HTTP/1.1" % peer, [(b"host", peer), *self._proxy_headers()])
        answer = _StatusReceiver()
        try:
            # NOTE: a response to CONNECT has no body; HEAD has the same framing.
            await connection.request(b"HEAD", head, answer)
            if answer.status != 200:  # noqa: PLR2004
                _refuse_tunnel(proxy_host, answer.status)
            assert self._tls is not None  # noqa: S101 - tunnels serve TLS only
            tls = await loop.start_tls(transport, connection, self._tls, server_hostname=self.host)
            assert isinstance(tls, asyncio.Transport)  # noqa: S101 - a stream
            connection.replace_transport(tls)
        except BaseException:
            transport.abort()
            raise
        return connection

    def _proxy_headers(self) -> Headers:
        credentials = self._proxy[2] if self._proxy is not None else None
        if credentials is None:
            return []
        return [(b"proxy-authorization", b"Basic " + base64.b64encode(credentials.encode()))]


class _StatusReceiver(Receiver):
    """Keeps the status of a response."""

    status = 0

    def head(self, head: ResponseHead) -> None:
        self.status = head.status

    def data(self, data: bytes) -> None:
        del data


def _refuse_tunnel(host: str, status: int) -> None:
    msg = f"the proxy {host} refused the tunnel with status {status}"
    raise UpstreamError(msg)


def _length(method: bytes, body: bytes) -> Headers:
    if body or method in (b"POST", b"PUT", b"PATCH"):
        return [(b"content-length", b"%d" % len(body))]
    return []


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    named = ca_file or os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if named and os.path.isdir(named):
        return ssl.create_default_context(capath=named)
    return ssl.create_default_context(cafile=named or None)


def _proxy_for(scheme: str, host: str, port: int) -> tuple[str, int, str | None] | None:
    """Return host, port and credentials of the HTTP proxy that the environment names for this address."""
    proxies: dict[str, str] = getproxies_environment()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or proxy_bypass_environment(host, proxies) or proxy_bypass_environment(f"{host}:{port}", proxies):
        return None
    parts: SplitResult | None = urlsplit(address if "//" in address else "http://" + address)
    if parts is None or parts.scheme != "http" or not parts.hostname:
        msg = "the proxy address {!r} is not an http:// URL".format(address.rpartition("@")[2])
        raise ValueError(msg)
    credentials = None
    if parts.username is not None:
        credentials = "{}:{}".format(unquote(parts.username), unquote(parts.password or ""))
    return parts.hostname, parts.port or 8080, credentials
