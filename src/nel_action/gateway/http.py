"""HTTP/1.1 messages: incremental parsing with limits, and serialisation (RFC 9110, RFC 9112)."""

from __future__ import annotations

from typing import Callable, Iterable, List, Sequence, Tuple

__all__ = [
    "Headers",
    "HttpError",
    "MessageParser",
    "RequestHead",
    "ResponseHead",
    "end_to_end",
    "format_head",
    "get_header",
]

Headers = List[Tuple[bytes, bytes]]
"""Names in lower case, values without surrounding whitespace, in order of arrival."""

MAX_HEAD = 64 * 1024
"""Bytes of a start line with all headers."""
MAX_BODY = 256 * 1024 * 1024
"""Bytes of a request body."""
MAX_CHUNK_LINE = 4096

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGITS = frozenset(b"0123456789")
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_NO_CONTENT = 204
_NOT_MODIFIED = 304


class HttpError(Exception):
    """A message that violates the protocol or a limit; `status` is the answer to give."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestHead:
    """Start line and headers of a request."""

    __slots__ = ("headers", "keep_alive", "method", "target")

    def __init__(self, method: bytes, target: bytes, headers: Headers, *, keep_alive: bool) -> None:
        self.method = method
        self.target = target
        """As sent: a path with an optional query, or an absolute URL."""
        self.headers = headers
        self.keep_alive = keep_alive


class ResponseHead:
    """Status line and headers of a response."""

    __slots__ = ("headers", "keep_alive", "reason", "status")

    def __init__(self, status: int, reason: bytes, headers: Headers, *, keep_alive: bool) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.keep_alive = keep_alive


def get_header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a header, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers that a proxy forwards: no hop-by-hop headers, none named by `Connection`, no lengths."""
    kept = list(headers)
    named = {option.strip().lower() for key, value in kept if key == b"connection" for option in value.split(b",")}
    return [
        (key, value)
        for key, value in kept
        if key not in _HOP_BY_HOP and key not in named and key not in (b"content-length", b"expect")
    ]


def format_head(start: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Serialise a start line (without line break) and headers."""
    return b"".join((start, b"\r\n", *(b"%b: %b\r\n" % header for header in headers), b"\r\n"))


def _parse_headers(lines: Sequence[bytes]) -> Headers:
    headers: Headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        # NOTE: whitespace before the colon and folded lines are rejected, since peers disagree on their meaning.
        if not colon or not name or not _TOKEN.issuperset(name):
            raise HttpError(400, "malformed header line")
        value = value.strip(b" \t")
        if b"\0" in value or b"\r" in value or b"\n" in value:
            raise HttpError(400, "control character in a header value")
        headers.append((name.lower(), value))
    return headers


def _keep_alive(version: bytes, headers: Headers) -> bool:
    options = {option.strip().lower() for key, value in headers if key == b"connection" for option in value.split(b",")}
    return b"close" not in options and (version == b"HTTP/1.1" or b"keep-alive" in options)


def _split_head(data: bytes) -> tuple[bytes, list[bytes]]:
    lines = data.split(b"\r\n")
    if any(b"\n" in line for line in lines):
        raise HttpError(400, "line feed without carriage return")
    return lines[0], lines[1:]


def parse_request_head(data: bytes) -> RequestHead:
    """Parse a request head without its final empty line.

    Raises:
        HttpError: the head is malformed, or of another protocol version than 1.0 or 1.1.
    """
    start, lines = _split_head(data)
    parts = start.split(b" ")
    if len(parts) != 3 or not parts[0] or not parts[1] or not _TOKEN.issuperset(parts[0]):  # noqa: PLR2004
        raise HttpError(400, "malformed request line")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise HttpError(505, "only HTTP/1.1 and HTTP/1.0 are served")
    if any(byte <= 0x20 or byte == 0x7F for byte in target):  # noqa: PLR2004 - control characters and space
        raise HttpError(400, "control character in the request target")
    headers = _parse_headers(lines)
    if version == b"HTTP/1.1" and sum(key == b"host" for key, _ in headers) != 1:
        raise HttpError(400, "a request has exactly one Host header")
    return RequestHead(method, target, headers, keep_alive=_keep_alive(version, headers))


def parse_response_head(data: bytes) -> ResponseHead:
    """Parse a response head without its final empty line.

    Raises:
        HttpError: the head is malformed.
    """
    start, lines = _split_head(data)
    version, _, rest = start.partition(b" ")
    code, _, reason = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or len(code) != 3 or not _DIGITS.issuperset(code):  # noqa: PLR2004
        raise HttpError(502, "malformed status line")
    headers = _parse_headers(lines)
    return ResponseHead(int(code), reason, headers, keep_alive=_keep_alive(version, headers))


def _body_length(headers: Headers) -> int | None:
    """Return the announced length: -1 for chunked coding, None where no length is announced."""
    codings = [value.lower() for key, value in headers if key == b"transfer-encoding"]
    lengths = {value for key, value in headers if key == b"content-length"}
    if codings:
        # NOTE: a message with both could be read differently by two peers (request smuggling).
        if lengths or codings != [b"chunked"]:
            raise HttpError(400, "unsupported or ambiguous transfer coding")
        return -1
    if not lengths:
        return None
    value = lengths.pop()
    if lengths or not value or not _DIGITS.issuperset(value) or len(value) > 15:  # noqa: PLR2004
        raise HttpError(400, "malformed Content-Length")
    return int(value)


class MessageParser:
    """Splits a stream of bytes into the heads and bodies of consecutive messages of one direction.

    Feed bytes with `feed`; the callbacks run in order: `on_head`, `on_data` any number of times, `on_end`. After
    `on_end` the parser stops and keeps further bytes until `resume`, so that one message is handled at a time.
    """

    def __init__(
        self,
        on_head: Callable[[bytes], object],
        on_data: Callable[[bytes], object],
        on_end: Callable[[], object],
        *,
        max_body: int | None = None,
    ) -> None:
        self._on_head = on_head
        self._on_data = on_data
        self._on_end = on_end
        self._max_body = max_body
        self._buffer = bytearray()
        self._state = self._read_head
        self._left = 0
        self._seen = 0
        self._until_close = False
        self.stopped = False
        """A message is complete; `resume` continues with the next."""

    def feed(self, data: bytes) -> None:
        """Parse bytes as far as they go.

        Raises:
            HttpError: the stream violates the protocol or a limit; the connection is unusable.
        """
        self._buffer += data
        while not self.stopped and self._buffer and self._state():
            pass

    def resume(self) -> None:
        """Continue with the next message, of which bytes may have arrived already."""
        self.stopped = False
        self._state = self._read_head
        self.feed(b"")

    @property
    def idle(self) -> bool:
        """Whether no byte of an unfinished message has arrived."""
        return not self._buffer and self._state == self._read_head

    def expect_body(self, headers: Headers, *, until_close: bool) -> None:
        """Set the framing of the body that follows; called within `on_head`.

        Args:
            headers: of the message.
            until_close: whether a body without announced length extends to the end of the connection (responses)
                or is absent (requests).
        """
        length = _body_length(headers)
        self._seen = 0
        if length is None:
            self._until_close = until_close
            self._state = self._read_until_close if until_close else self._finish
        elif length < 0:
            self._state = self._read_chunk_size
        elif self._max_body is not None and length > self._max_body:
            raise HttpError(413, f"body of {length} bytes exceeds the limit of {self._max_body}")
        else:
            self._left = length
            self._state = self._read_length if length else self._finish

    def expect_no_body(self) -> None:
        """State that no body follows, whatever the headers announce; called within `on_head`."""
        self._state = self._finish

    def end_of_stream(self) -> bool:
        """Handle the end of the connection; return whether it completed a message or fell between two messages."""
        if self._until_close:
            self._finish()
            return True
        return self.idle or self.stopped

    def _read_head(self) -> bool:
        buffer = self._buffer
        if buffer[:2] == b"\r\n":  # RFC 9112, 2.2: an empty line before a request line is ignored
            del buffer[:2]
            return bool(buffer)
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD:
            if len(buffer) > MAX_HEAD:
                raise HttpError(431, f"head exceeds {MAX_HEAD} bytes")
            return False
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        self._until_close = False
        self._on_head(head)
        if self._state == self._finish:
            self._finish()
        return True

    def _finish(self) -> bool:
        self._until_close = False
        self._state = self._read_head
        self.stopped = True
        self._on_end()
        return False

    def _emit(self, data: bytes) -> None:
        self._seen += len(data)
        if self._max_body is not None and self._seen > self._max_body:
            raise HttpError(413, f"body exceeds the limit of {self._max_body} bytes")
        self._on_data(data)

    def _read_length(self) -> bool:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        self._emit(data)
        return self._finish() if not self._left else False

    def _read_until_close(self) -> bool:
        data = bytes(self._buffer)
        self._buffer.clear()
        self._emit(data)
        return False

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end < 0 or end > MAX_CHUNK_LINE:
            if len(self._buffer) > MAX_CHUNK_LINE:
                raise HttpError(400, "chunk line too long")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = line.partition(b";")[0].strip(b" \t")
        if not size or not _HEX.issuperset(size) or len(size) > 15:  # noqa: PLR2004
            raise HttpError(400, "malformed chunk size")
        self._left = int(size, 16)
        self._state = self._read_chunk if self._left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: len(data)]
        self._left -= len(data)
        self._emit(data)
        if not self._left:
            self._state = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        if len(self._buffer) < 2:  # noqa: PLR2004 - CR LF
            return False
        if self._buffer[:2] != b"\r\n":
            raise HttpError(400, "chunk without its final line break")
        del self._buffer[:2]
        self._state = self._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._seen += len(line)
        if self._seen > MAX_BODY + MAX_HEAD:
            raise HttpError(431, "trailers too long")
        return self._finish() if not line else True


def response_has_body(method: bytes, status: int) -> bool:
    """Return whether a response to this method with this status has a body (RFC 9112, 6.3)."""
    return method != b"HEAD" and status >= 200 and status not in (_NO_CONTENT, _NOT_MODIFIED)  # noqa: PLR2004
