"""Places: a silent connection gives its own to whoever comes; a busy one does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pileus.edge.clients import network_of
from tests.support import eventually
from tests.unit.edge.conftest import Client, Edge

GET = b"GET /fine HTTP/1.1\r\nHost: x\r\n\r\n"
PIECES = b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("limits", [{"max_connections_per_address": 3}, {"max_connections": 3}])
def test_silent_connections_keep_nobody_out(make: Callable[..., Edge], limits: dict[str, int]) -> None:
    edge = make(header_timeout_s=60, keep_alive_s=60, **limits)
    silent = [edge.connect() for _ in range(10)]
    assert edge.connect(GET).answer().endswith(b"fine")
    assert silent[0].ended(), "the oldest went first"


def test_who_is_answered_keeps_the_place(make: Callable[..., Edge]) -> None:
    edge = make(max_connections_per_address=2, keep_alive_s=60)
    busy: list[Client] = []
    for _ in range(2):
        busy.append(edge.connect(WAIT))
        assert edge.application.waiting.wait(60)
        edge.application.waiting.clear()
    assert edge.connect().ended(), "all places are taken"
    edge.application.go.set()
    assert all(client.answer().endswith(b"fine") for client in busy)


@pytest.mark.parametrize("limits", [{"max_connections_per_address": 3}, {"max_connections": 3}])
@pytest.mark.parametrize("sent", [b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", PIECES])
def test_slow_connections_keep_nobody_out(make: Callable[..., Edge], limits: dict[str, int], sent: bytes) -> None:
    edge = make(body_timeout_s=60, send_timeout_s=60, **limits)
    for number in range(3):
        edge.connect(sent, receive_buffer=4096)
        eventually(lambda number=number: edge.connections() == number + 1)  # type: ignore[misc]
    eventually(lambda: edge.stalled() == 3)
    assert edge.connect(GET).answer().endswith(b"fine")


def test_a_place_is_free_again(make: Callable[..., Edge]) -> None:
    edge = make(max_connections_per_address=1, keep_alive_s=60)
    for _ in range(5):
        client = edge.connect(GET)
        assert client.answer().endswith(b"fine")
        client.close()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::1]:4711", "2001:db8::/64"),
        ("unknown", "unknown"),
        ("[" * 1000, "[" * 64),
    ],
)
def test_what_counts_as_one_client(address: str, network: str) -> None:
    assert network_of(address) == network
