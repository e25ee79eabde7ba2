"""Slow clients keep no thread; what arrives whole is answered, what does not is not taken for whole."""

from __future__ import annotations

import json
import select
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pileus.edge.certificate import context, self_signed
from pileus.edge.forwarding import Proxies, network_of
from pileus.edge.rates import Rates
from pileus.settings import REQUEST_THREADS, Settings
from tests.support import eventually
from tests.unit.edge.conftest import Client, Edge

GET = b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_bodies_that_dribble_keep_no_thread(make: Callable[..., Edge]) -> None:
    edge = make(body_timeout_s=20)
    slow = [edge.connect(POST + b"12345") for _ in range(REQUEST_THREADS * 2)]
    assert edge.connect(GET).answer().endswith(b"fine")
    assert edge.application.calls == 1, "a body that is not whole is nobody's yet"
    slow[0].send(b"67890")
    assert slow[0].answer().endswith(b"10")


def test_a_body_has_a_deadline(edge: Edge) -> None:
    client = edge.connect(POST + b"1")
    assert client.answer().startswith(b"HTTP/1.1 408 ")
    assert client.ended()


def test_downloads_that_stall_keep_no_thread(make: Callable[..., Edge]) -> None:
    edge = make(send_timeout_s=20)
    download = b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n"
    stalled = [edge.connect(download, receive_buffer=4096) for _ in range(REQUEST_THREADS * 2)]
    assert edge.connect(GET).answer().endswith(b"fine")
    for client in stalled:
        client.close()
    assert edge.application.closed.wait(60)


@pytest.mark.parametrize("ended", [b"", b"5\r\n123"])
@pytest.mark.parametrize("path", [b"/size", b"/upload"])
def test_a_chunked_body_that_breaks_off_is_not_whole(edge: Edge, path: bytes, ended: bytes) -> None:
    client = edge.connect(b"POST " + path + CHUNKED + b"5\r\n12345\r\n" + ended)
    client.close()
    if path == b"/upload":
        eventually(lambda: edge.application.broken)
        assert isinstance(edge.application.broken[0], ConnectionError)
    else:
        assert edge.connect(GET).answer().endswith(b"fine")
        assert edge.application.calls == 1


def test_an_upload_that_pauses_is_given_up(edge: Edge) -> None:
    edge.connect(b"POST /upload" + CHUNKED + b"5\r\n12345\r\n")
    eventually(lambda: edge.application.broken)
    assert isinstance(edge.application.broken[0], TimeoutError)


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
def test_an_upload_arrives_whole(edge: Edge, size: int) -> None:
    client = edge.connect(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    client.send(b"a" * size)
    assert client.answer().endswith(b"%d" % size)


def test_continue_is_said_before_a_body_is_sent(edge: Edge) -> None:
    expects = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    client = edge.connect(expects)
    assert client.socket.recv(100).startswith(b"HTTP/1.1 100 ")
    client.send(b"1234567890")
    assert client.answer().endswith(b"10")


def test_too_long_a_chunked_body_is_cut(make: Callable[..., Edge]) -> None:
    edge = make(max_json_body_bytes=10)
    client = edge.connect(b"POST /size" + CHUNKED + b"20\r\n" + b"a" * 32 + b"\r\n")
    assert int(client.answer().rpartition(b"\r\n\r\n")[2]) > 10, "the application sees that it is too long"


def environ(edge: Edge, headers: bytes) -> dict[str, Any]:
    answer = edge.connect(b"GET /headers HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n").answer()
    seen = ("REMOTE_ADDR", "HTTP_X_FORWARDED_HOST", "HTTP_X_AUTH_TOKEN", "HTTP_FORWARDED", "HTTP_ACCEPT")
    return {name: value for name, value in json.loads(answer.partition(b"\r\n\r\n")[2]).items() if name in seen}


FORWARDED = b"X-Forwarded-For: 192.0.2.9, 10.0.0.1\r\nX-Forwarded-Host: evil\r\nForwarded: host=evil\r\n"


def test_anybody_may_say_anything(make: Callable[..., Edge]) -> None:
    assert environ(make(trusted_proxies=["192.0.2.0/24"]), FORWARDED) == {"REMOTE_ADDR": "127.0.0.1"}


def test_a_trusted_proxy_says_who_asks(make: Callable[..., Edge]) -> None:
    found = environ(make(trusted_proxies=["127.0.0.1", "10.0.0.0/8"]), FORWARDED)
    assert found["REMOTE_ADDR"] == "192.0.2.9"
    assert found["HTTP_X_FORWARDED_HOST"] == "evil"


@pytest.mark.parametrize(
    "said", [b"[2001:db8::%d]:99", b"2001:db8::%d", b"192.0.2.7:4%d", b"::ffff:192.0.2.7, 10.0.0.%d:1"]
)
def test_a_client_is_one_from_whatever_address_and_port_of_its_own(make: Callable[..., Edge], said: bytes) -> None:
    """A limit of requests, and of guesses, was none for who has IPv6: each of its 2**64 addresses counted alone."""
    edge = make(trusted_proxies=["127.0.0.1", "10.0.0.0/8"], requests_per_second=0.5, request_burst=2)
    asked = (b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + said % number + b"\r\n\r\n" for number in range(3))
    assert [edge.connect(one).answer()[9:12] for one in asked] == [b"200", b"200", b"429"]


def test_a_proxy_is_known_on_a_socket_of_both_families() -> None:
    client, headers = Proxies(["192.0.2.1"]).client("::ffff:192.0.2.1", [(b"x-forwarded-for", b"2001:db8::1")])
    assert (client, len(headers)) == ("2001:db8::/64", 1)


def test_a_header_passes_for_no_other(edge: Edge) -> None:
    found = environ(edge, b"X_Auth_Token: stolen\r\nAccept: a\r\nAccept: b\r\n")
    assert found == {"REMOTE_ADDR": "127.0.0.1", "HTTP_ACCEPT": "a,b"}


def test_a_proxy_must_be_an_address() -> None:
    with pytest.raises(ValueError, match="proxy"):
        Proxies(["proxy"])


def test_who_asks_too_often_is_told_when_to_come_again(make: Callable[..., Edge]) -> None:
    edge = make(requests_per_second=0.5, request_burst=2, keep_alive_s=20)
    client = edge.connect(GET)
    assert client.answer().endswith(b"fine")
    client.send(GET)
    assert client.answer().endswith(b"fine")
    client.send(GET)
    refused = client.answer()
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 2" in refused or b"retry-after: 3" in refused


def test_a_bucket_fills_again() -> None:
    rates = Rates(2, 2)
    assert [rates.wait("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert rates.wait("b", 0.0) == 0.0
    assert rates.wait("a", 0.25) == 0.25
    assert rates.wait("a", 0.6) == 0.0
    assert [rates.wait("a", 100.0) for _ in range(3)] == [0.0, 0.0, 0.5]


def test_a_self_signed_certificate_is_verified(make: Callable[..., Edge], tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "cloud.example.org")
    assert self_signed(tmp_path / "tls", "cloud.example.org") == (certificate, key), "made once"
    assert key.stat().st_mode & 0o777 == 0o600
    edge = make(tls=context(Settings(state="/nowhere", tls_cert=str(certificate), tls_key=str(key))))
    trusting = ssl.create_default_context(cafile=str(certificate))
    for name in ("127.0.0.1", "cloud.example.org"):
        with socket.create_connection(edge.address) as plain, trusting.wrap_socket(plain, server_hostname=name) as own:
            own.sendall(GET)
            assert own.recv(4096).startswith(b"HTTP/1.1 200 ")
            assert own.version() in ("TLSv1.2", "TLSv1.3")
    with socket.create_connection(edge.address) as plain, pytest.raises(ssl.SSLCertVerificationError):
        trusting.wrap_socket(plain, server_hostname="other.example.org")


def test_who_does_not_speak_tls_is_disconnected(make: Callable[..., Edge], tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    edge = make(tls=context(Settings(state="/nowhere", tls_cert=str(certificate), tls_key=str(key))))
    assert edge.connect(GET).ended()
    assert edge.connect(b"").ended(), "nor does who says nothing hold a place"


def test_no_application_is_asked_for_more_than_it_can_answer(make: Callable[..., Edge], monkeypatch: Any) -> None:
    monkeypatch.setattr("pileus.edge.gateway.WAITING", 2)
    edge = make()
    clients = [edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]
    eventually(lambda: edge.application.calls == 2)
    assert edge.connect(GET).answer().startswith(b"HTTP/1.1 503 ")
    edge.application.go.set()
    assert all(client.answer().endswith(b"fine") for client in clients)


def test_memory_for_bodies_has_a_limit(make: Callable[..., Edge], monkeypatch: Any) -> None:
    monkeypatch.setattr("pileus.edge.gateway.HELD", 130_000)
    monkeypatch.setattr("pileus.edge.gateway.SMALL", 0)
    edge = make(body_timeout_s=20)
    head = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
    first = edge.connect(head + b"a" * 80_000)
    second = edge.connect(head + b"a" * 80_000)
    answered = select.select([first.socket, second.socket], [], [], 10)[0]
    refused = [client for client in (first, second) if client.socket in answered]
    assert len(refused) == 1 and refused[0].answer().startswith(b"HTTP/1.1 503 ")
    other = first if refused[0] is second else second
    other.send(b"a" * 10_000)
    assert other.answer().endswith(b"90000")


def test_bodies_that_dribble_take_nobody_s_turn(make: Callable[..., Edge], monkeypatch: Any) -> None:
    monkeypatch.setattr("pileus.edge.gateway.WAITING", 4)
    monkeypatch.setattr("pileus.edge.gateway.HELD", 0)
    edge = make(body_timeout_s=20)
    for _ in range(8):
        edge.connect(POST + b"1")
    assert edge.connect(GET).answer().endswith(b"fine")
    slow = edge.connect(POST + b"12345")
    slow.send(b"67890")
    assert slow.answer().endswith(b"10"), "a small body has room whatever others hold"


@pytest.mark.parametrize("path", [b"/wait", b"/upload"])
def test_one_client_leaves_places_for_others(make: Callable[..., Edge], monkeypatch: Any, path: bytes) -> None:
    monkeypatch.setattr("pileus.edge.gateway.WAITING", 4)
    monkeypatch.setattr("pileus.edge.gateway.TRANSFERS", 4)
    edge = make(body_timeout_s=20, trusted_proxies=["127.0.0.1"])

    def ask(client: bytes) -> Client:
        sent = b"POST " + path + CHUNKED.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: " + client + b"\r\n\r\n")
        return edge.connect(sent + (b"0\r\n\r\n" if path == b"/wait" else b""))

    for number in range(3):
        ask(b"2001:db8::%d" % number)
    eventually(lambda: edge.application.calls == 3)
    assert ask(b"2001:db8::9").answer().startswith(b"HTTP/1.1 503 "), "one network is one client"
    ask(b"2001:db8:0:1::1")
    eventually(lambda: edge.application.calls == 4)


def test_nobody_answers_who_hung_up(make: Callable[..., Edge], monkeypatch: Any) -> None:
    monkeypatch.setattr("pileus.edge.gateway.REQUEST_THREADS", 1)
    edge = make()
    edge.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    assert edge.application.waiting.wait(60)
    for _ in range(5):
        gone = edge.connect(GET)
        eventually(lambda: edge.connections() == 2)
        gone.close()
        eventually(lambda: edge.connections() == 1)
    last = edge.connect(GET)
    edge.application.go.set()
    assert last.answer().endswith(b"fine")
    assert edge.application.calls == 2


def test_an_address_that_is_none_is_itself() -> None:
    assert network_of("unknown:host") == "unknown:host"
