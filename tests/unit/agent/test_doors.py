"""Whom an agent lets in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pileus import certificates
from pileus.agent.doors import KNOWN, OF_ONE, STRANGERS, Visitors

# --- visitors -----------------------------------------------------------------------------------------------------


class Crowd:
    """Connections that are being greeted."""

    def __init__(self, stack: ExitStack) -> None:
        self.visitors, self._stack = Visitors(), stack

    def come(self, address: str, spoken: bool = False) -> socket.socket:
        """One more; the client's end."""
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            self._stack.enter_context(one)
        theirs.setblocking(False)
        self._stack.enter_context(self.visitors.place(ours, address)).spoken = spoken
        return theirs


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(stack)


def is_greeted(client: socket.socket) -> bool:
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def test_one_address_has_few_places_and_its_oldest_goes(crowd: Crowd) -> None:
    other = crowd.come("10.0.0.2")
    clients = [crowd.come("10.0.0.1") for _ in range(OF_ONE + 2)]
    assert [is_greeted(one) for one in clients] == [False] * 2 + [True] * OF_ONE
    assert is_greeted(other)


def test_who_says_nothing_goes_before_who_does(crowd: Crowd) -> None:
    speaks = crowd.come("10.0.0.1", spoken=True)
    clients = [crowd.come("10.0.0.1") for _ in range(OF_ONE)]
    assert is_greeted(speaks)
    assert [is_greeted(one) for one in clients] == [False] + [True] * (OF_ONE - 1)


def test_strangers_of_many_addresses_do_not_take_a_replicas_places(crowd: Crowd) -> None:
    crowd.visitors.know("10.0.0.1", certificates.REPLICA)
    replica = [crowd.come("10.0.0.1") for _ in range(STRANGERS)]
    strangers = [crowd.come(f"10.0.1.{number}") for number in range(STRANGERS + 3)]
    assert all(is_greeted(one) for one in replica)
    assert [is_greeted(one) for one in strangers] == [False] * 3 + [True] * STRANGERS
    crowd.come("10.0.0.1")
    assert [is_greeted(one) for one in replica] == [False] + [True] * (STRANGERS - 1)


def test_a_place_is_free_again(crowd: Crowd) -> None:
    clients = [crowd.come("10.0.0.1") for _ in range(OF_ONE - 1)]
    for _ in range(3):
        with socket.socket() as other, crowd.visitors.place(other, "10.0.0.1"):
            pass
    crowd.come("10.0.0.1")
    assert all(is_greeted(one) for one in clients)


def test_so_many_replicas_are_remembered(crowd: Crowd) -> None:
    for number in range(KNOWN + 1):
        crowd.visitors.know(f"10.0.2.{number}", certificates.REPLICA)
    forgotten = [crowd.come("10.0.2.0") for _ in range(OF_ONE + 1)]
    known = [crowd.come(f"10.0.2.{KNOWN}") for _ in range(OF_ONE + 1)]
    assert [all(map(is_greeted, some)) for some in (forgotten, known)] == [False, True]


def test_no_agent_makes_a_replica_forgotten(crowd: Crowd) -> None:
    crowd.visitors.know("10.0.0.1", certificates.REPLICA)
    for number in range(KNOWN + 1):
        crowd.visitors.know(f"10.0.2.{number}", certificates.AGENT)
    replica, agent = ([crowd.come(one) for _ in range(OF_ONE + 1)] for one in ("10.0.0.1", f"10.0.2.{KNOWN}"))
    assert all(is_greeted(one) for one in (*replica, *agent))
