"""Deadlines: a connection costs whoever holds it open something, or it ends."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable

import pytest

from tests.unit.edge.conftest import Edge

GET = b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /fi", b"GET /fine HTTP/1.1\r\nHost: x\r\nX-Long: a", b"\r\n", GET + b"\r\n", GET + b"GET /"],
    ids=["silent", "first line", "header", "empty line", "empty line afterwards", "second request"],
)
def test_who_does_not_finish_a_header_is_disconnected(edge: Edge, sent: bytes) -> None:
    assert edge.connect(sent).ended()


def test_a_dribbled_header_has_one_deadline(edge: Edge) -> None:
    client = edge.connect(b"GET /fine HTTP/1.1\r\nX-Long: ")
    with pytest.raises(ConnectionError):
        while True:
            client.send(b"a")
            client.socket.settimeout(0.05)
            try:
                if not client.socket.recv(1):
                    raise ConnectionResetError
            except TimeoutError:
                pass


def test_a_connection_is_kept_for_a_while(edge: Edge) -> None:
    client = edge.connect(GET)
    assert client.answer().endswith(b"fine")
    client.send(GET)
    assert client.answer().endswith(b"fine")
    assert client.ended()


def test_an_answer_in_two_pieces_does_not_wait_for_an_acknowledgement(edge: Edge) -> None:
    client = edge.connect(GET)
    assert client.answer().endswith(b"fine")
    assert edge.delays() == [False]


def test_a_header_has_a_longest_length(edge: Edge) -> None:
    client = edge.connect(b"GET /fine HTTP/1.1\r\n")
    with pytest.raises((ConnectionError, AssertionError)):
        for _ in range(100):
            client.send(b"X-Long: " + b"a" * 65536 + b"\r\n")
        client.answer()
    assert edge.application.calls == 0


def test_a_request_behind_one_that_takes_long_is_not_late(edge: Edge) -> None:
    client = edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\nGET /fine HTTP/1.1\r\n")
    assert edge.application.waiting.wait(60)
    client.socket.settimeout(1)  # longer than the deadline of the header
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(20)
    client.send(b"Host: x\r\n\r\n")  # before the answer: afterwards it has a deadline again
    edge.application.go.set()
    assert client.answer().endswith(b"fine")
    assert client.answer().endswith(b"fine")


def test_who_takes_nothing_is_disconnected(edge: Edge) -> None:
    client = edge.connect(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n", receive_buffer=4096)
    assert edge.application.closed.wait(60), "the file is closed"
    client.socket.settimeout(20)
    assert client.ended()


def test_answers_that_are_not_taken_end_the_connection(make: Callable[..., Edge]) -> None:
    edge = make(keep_alive_s=0.1)
    close = b"GET /headers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: " + b"a" * 60_000 + b"\r\n\r\n"
    client = edge.connect(close, receive_buffer=1024)
    assert edge.connect(GET).answer().endswith(b"fine")
    client.close()


def test_a_refused_body_that_ends_soon_leaves_the_connection_usable(make: Callable[..., Edge]) -> None:
    edge = make(max_json_body_bytes=10, keep_alive_s=20)
    client = edge.connect(b"POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 1000)
    assert client.answer().endswith(b"fine"), "answered before the body has arrived"
    client.send(b"a" * 99_000 + GET)
    assert client.answer().endswith(b"fine")


@pytest.mark.parametrize("length", [b"Content-Length: 100000000000", b"Transfer-Encoding: chunked"])
def test_a_refused_body_is_not_read_for_ever(make: Callable[..., Edge], length: bytes) -> None:
    edge = make(max_json_body_bytes=10, keep_alive_s=20)
    client = edge.connect(b"POST /fine HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n\r\n")
    part = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            client.send(part)


def test_a_refused_body_that_does_not_come_is_not_waited_for(make: Callable[..., Edge]) -> None:
    edge = make(max_json_body_bytes=10, keep_alive_s=20)
    client = edge.connect(b"POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n")
    assert client.answer().endswith(b"fine")
    assert client.ended()


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00", b"BREW /pot HTTP/1.1\r\n\r\n"])
def test_what_is_not_http_is_refused(edge: Edge, sent: bytes) -> None:
    client = edge.connect(sent)
    assert client.socket.recv(100).startswith(b"HTTP/1.1 400")
    assert client.ended()


def test_the_rest_is_answered_when_the_replica_ends(edge: Edge) -> None:
    client = edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    assert edge.application.waiting.wait(60)
    edge.stop()
    assert client.answer().endswith(b"fine")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(edge.address)


CHUNKED = b"POST /size HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize(
    ("sent", "more"),
    [
        (b"GET /fine HTTP/1.1\r\n", b"a: b\r\n" * 300),
        (CHUNKED + b"0\r\n", b"a: b\r\n" * 300),
        (CHUNKED + b"0\r\na: ", b"b" * 65536),
        (CHUNKED + b"1;", b"a" * 65536),
        (CHUNKED, b"1\r\na\r\n" * 10_000),
        (b"", GET * 300),
    ],
    ids=["headers", "trailers", "a trailer", "an extension", "tiny chunks", "pipelined requests"],
)
def test_what_is_no_body_has_a_bound(make: Callable[..., Edge], sent: bytes, more: bytes) -> None:
    edge = make(header_timeout_s=20, body_timeout_s=20, keep_alive_s=20)
    client = edge.connect(sent or b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(ConnectionError):
        for _ in range(30):
            client.send(more)
            if select.select([client.socket], [], [], 0.02)[0]:
                assert client.socket.recv(100)[:13] in (b"HTTP/1.1 431 ", b"")
                assert client.ended()
                raise ConnectionResetError
    assert edge.application.calls <= 1


def test_a_body_in_small_chunks_arrives(edge: Edge) -> None:
    client = edge.connect(CHUNKED + b"100\r\n" + b"a" * 256 + b"\r\n")
    for _ in range(100):
        client.send((b"40\r\n" + b"a" * 64 + b"\r\n") * 10)
    client.send(b"0\r\na: b\r\n\r\n")
    assert client.answer().endswith(b"%d" % (257 + 64_000))


def test_a_trailer_is_no_header(edge: Edge) -> None:
    client = edge.connect(CHUNKED.replace(b"/size", b"/headers") + b"0\r\nX-Auth-Token: a\r\n\r\n")
    assert b"HTTP_X_AUTH_TOKEN" not in client.answer()


def test_pipelined_requests_are_answered_in_order(make: Callable[..., Edge]) -> None:
    edge = make(keep_alive_s=20)
    client = edge.connect(GET * 16)
    data = b""
    while data.count(b"fine") < 16:
        more = client.socket.recv(65536)
        assert more, "the connection was closed"
        data += more
    assert data.count(b"HTTP/1.1 200 ") == 16


def test_who_takes_an_answer_slowly_gets_it(make: Callable[..., Edge]) -> None:
    edge = make(send_timeout_s=1)
    client = edge.connect(b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n", receive_buffer=65536)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert client.socket.recv(200_000)
        time.sleep(0.05)  # the pace of the client is what is tested
