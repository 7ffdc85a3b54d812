"""Conformance of the HTTP parser with RFC 9112, by a corpus of valid and invalid messages."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nel_action.gateway.http import (
    MAX_HEAD,
    Headers,
    HttpError,
    MessageParser,
    end_to_end,
    parse_request_head,
    parse_response_head,
)

Message = tuple[bytes, bytes, Headers, bytes]


class Reader:
    """Parses a stream of requests into (method, target, headers, body)."""

    def __init__(self, max_body: int | None = None) -> None:
        self.messages: list[Message] = []
        self.body = b""
        self.parser = MessageParser(self._head, self._data, self._end, max_body=max_body)

    def _head(self, data: bytes) -> None:
        self.head = parse_request_head(data)
        self.body = b""
        self.parser.expect_body(self.head.headers, until_close=False)

    def _data(self, data: bytes) -> None:
        self.body += data

    def _end(self) -> None:
        self.messages.append((self.head.method, self.head.target, self.head.headers, self.body))

    def read(self, *pieces: bytes) -> list[Message]:
        for piece in pieces:
            self.parser.feed(piece)
            while self.parser.stopped:
                before = len(self.messages)
                self.parser.resume()
                if len(self.messages) == before:
                    break
        return self.messages


HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
VALID = {
    "no body": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "length": (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "length zero": (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", b""),
    "equal lengths": (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "chunked": (
        b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"abcde",
    ),
    "chunked, upper case": (
        b"POST /x HTTP/1.1\r\n" + HOST + b"TRANSFER-ENCODING: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789",
    ),
    "chunk extension": (
        b"POST /x HTTP/1.1\r\n" + HOST + b'Transfer-Encoding: chunked\r\n\r\n3;a="b"\r\nabc\r\n0;x\r\n\r\n',
        b"abc",
    ),
    "trailer": (
        b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-T: 1\r\n\r\n",
        b"x",
    ),
    "chunk holds line breaks": (
        b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"\r\n\r\n",
    ),
    "empty lines before": (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "header without value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-Empty:\r\n\r\n", b""),
    "whitespace around value": (POST + b"Content-Length: \t 2 \t\r\n\r\nok", b"ok"),
    "latin-1 value": (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: \xe9\r\n\r\n", b""),
    "1.0 without host": (b"GET / HTTP/1.0\r\n\r\n", b""),
    "absolute target": (b"GET http://a/x?y HTTP/1.1\r\n" + HOST + b"\r\n", b""),
    "unknown method": (b"PURGE / HTTP/1.1\r\n" + HOST + b"\r\n", b""),
}
INVALID = {
    "empty method": b" / HTTP/1.1\r\n" + HOST + b"\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "version 2": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "lower-case version": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "control in target": b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "control in method": b"G\x00T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "space before colon": b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length : 1\r\n\r\nx",
    "folded header": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\n" + HOST + b"X-A\r\n\r\n",
    "header without name": b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n",
    "NUL in value": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: \0\r\n\r\n",
    "bare carriage return": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n",
    "bare line feed": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\nX-B: b\r\n\r\n",
    "length and chunked": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "different lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "list of lengths": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "signed length": POST + b"Content-Length: +1\r\n\r\nx",
    "hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\nx",
    "length of letters": POST + b"Content-Length: ten\r\n\r\n",
    "huge length": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "chunk size missing": CHUNKED + b"\r\nabc",
    "chunk size negative": CHUNKED + b"-1\r\n",
    "chunk size with prefix": CHUNKED + b"0x1\r\na\r\n",
    "chunk size underscore": CHUNKED + b"1_0\r\n",
    "chunk longer than stated": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "chunk line too long": CHUNKED + b"1;" + b"x" * 5000,
    "head too long": b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * MAX_HEAD,
}


@pytest.mark.parametrize("name", VALID)
def test_parser_accepts_valid_requests(name: str) -> None:
    data, body = VALID[name]
    (message,) = Reader().read(data)
    assert message[3] == body


@pytest.mark.parametrize("name", VALID)
def test_parser_result_does_not_depend_on_how_the_bytes_arrive(name: str) -> None:
    data, _ = VALID[name]
    expected = Reader().read(data)
    assert Reader().read(*(data[at : at + 1] for at in range(len(data)))) == expected


@pytest.mark.parametrize("name", INVALID)
def test_parser_rejects_invalid_requests(name: str) -> None:
    with pytest.raises(HttpError) as caught:
        Reader().read(INVALID[name])
    assert 400 <= caught.value.status < 600


def test_parser_separates_pipelined_requests() -> None:
    data = b"".join(VALID[name][0] for name in VALID if name != "1.0 without host")
    bodies = [message[3] for message in Reader().read(data)]
    assert bodies == [VALID[name][1] for name in VALID if name != "1.0 without host"]


@pytest.mark.parametrize("framing", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n"])
def test_parser_limits_the_body(framing: bytes) -> None:
    data = POST + framing + b"0123456789a"
    with pytest.raises(HttpError) as caught:
        Reader(max_body=10).read(data)
    assert caught.value.status == 413


@given(data=st.binary(max_size=300), cut=st.integers(0, 300))
def test_parser_raises_only_its_own_error(data: bytes, cut: int) -> None:
    for start in (
        b"",
        POST,
        CHUNKED + b"",
    ):
        with suppress(HttpError):
            Reader(max_body=200).read(start + data[:cut], data[cut:])


@given(body=st.binary(max_size=500), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_parser_decodes_any_chunking(body: bytes, sizes: list[int]) -> None:
    chunks, rest = [], body
    for size in sizes * 500:
        if not rest:
            break
        chunks.append(b"%x\r\n%b\r\n" % (len(rest[:size]), rest[:size]))
        rest = rest[size:]
    data = CHUNKED + b"".join(chunks) + b"0\r\n\r\n"
    assert Reader().read(data)[0][3] == body


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive", True),
    ],
)
def test_keep_alive_follows_version_and_connection_header(head: bytes, keep_alive: bool) -> None:  # noqa: FBT001
    assert parse_request_head(head).keep_alive is keep_alive


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 20 OK", b"HTTP/1.1 abc OK", b"HTTP/2 200", b"ICY 200 OK", b"", b"HTTP/1.1  200 OK"]
)
def test_malformed_status_lines_are_rejected(head: bytes) -> None:
    with pytest.raises(HttpError):
        parse_response_head(head)


def test_status_line_without_reason_is_accepted() -> None:
    assert parse_response_head(b"HTTP/1.1 204\r\nX-A: b").status == 204


def test_end_to_end_removes_hop_by_hop_headers_and_those_that_connection_names() -> None:
    headers: Headers = [
        (b"connection", b"close, X-Private"),
        (b"x-private", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"te", b"trailers"),
        (b"content-length", b"3"),
        (b"x-kept", b"2"),
    ]
    assert end_to_end(headers) == [(b"x-kept", b"2")]
