"""The metadata store and its HTTP service."""

from __future__ import annotations

import http.client
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pileus.agent.commands import FixedIP, GuestPort
from pileus.agent.errors import CommandFailed
from pileus.agent.metadata import MetadataService, MetadataStore, service
from tests.unit.agent.specs import NETWORK, SERVER, guest, wiring


def local_wiring() -> GuestPort:
    """A port whose address is the one this test asks from."""
    port = msgspec.structs.replace(
        wiring().port, fixed_ips=(FixedIP(subnet_id="s4", ip_address="127.0.0.1", prefix_length=8),)
    )
    return msgspec.structs.replace(wiring(), port=port)


@pytest.fixture
def store(tmp_path: Path) -> MetadataStore:
    return MetadataStore(tmp_path / "metadata")


def test_store_outlives_the_agent(store: MetadataStore, tmp_path: Path) -> None:
    store.put(guest())
    (path,) = (tmp_path / "metadata").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in path.read_text()
    (tmp_path / "metadata" / "damaged.json").write_text("{")
    again = MetadataStore(tmp_path / "metadata")
    found = again.find(NETWORK, "10.0.0.5")
    assert found is not None
    assert found.server_id == SERVER
    assert again.find("another network", "10.0.0.5") is None
    assert again.networks() == {NETWORK}


def test_store_ignores_an_older_incarnation(store: MetadataStore) -> None:
    store.put(guest(incarnation=2))
    store.put(guest(incarnation=1, ports=()))
    assert store.find(NETWORK, "10.0.0.5") == store.get(SERVER)
    store.put(guest(incarnation=2, ports=()))
    assert store.find(NETWORK, "10.0.0.5") is None
    assert store.ids() == [SERVER]


def test_an_address_belongs_to_the_guest_told_of_last(store: MetadataStore, tmp_path: Path) -> None:
    heir = "00000000-2222-4333-8444-555555555555"
    store.put(guest())
    store.put(guest(server_id=heir))
    for known in (store, MetadataStore(tmp_path / "metadata")):
        found = known.find(NETWORK, "10.0.0.5")
        assert found is not None and found.server_id == heir
        known.remove(SERVER)
        assert known.find(NETWORK, "10.0.0.5") == found
    store.remove(heir)
    assert store.find(NETWORK, "10.0.0.5") is None


def test_store_forgets_former_addresses(store: MetadataStore) -> None:
    store.put(guest())
    store.put(guest(ports=(local_wiring(),)))
    assert store.find(NETWORK, "10.0.0.5") is None
    assert store.find(NETWORK, "127.0.0.1") is not None
    for _ in range(2):
        store.remove(SERVER)
    assert store.find(NETWORK, "127.0.0.1") is None
    assert store.networks() == set()


def test_store_takes_only_uuids(store: MetadataStore) -> None:
    with pytest.raises(CommandFailed):
        store.put(guest(server_id="../../etc/cron.d/x"))


@pytest.fixture
def port(store: MetadataStore) -> Iterator[int]:
    store.put(guest(ports=(local_wiring(),)))
    served = MetadataService(store)
    sock = socket.create_server(("127.0.0.1", 0))
    served.listen(NETWORK, sock)
    yield sock.getsockname()[1]
    served.stop()


def ask(port: int, path: str, method: str = "GET", source: str = "127.0.0.1") -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    client.request(method, path, headers={"X-Forwarded-For": "127.0.0.1"})
    answer = client.getresponse()
    content = answer.read()
    client.close()
    return answer.status, content


def test_service(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert ask(port, "/latest/meta-data/hostname") == (200, b"web-1")
    assert ask(port, "/openstack/latest/user_data?x=1") == (200, b"#!/bin/sh\n")
    assert ask(port, "/openstack/latest/user_data", "HEAD") == (200, b"")
    assert ask(port, "/openstack/latest/nothing")[0] == 404
    assert ask(port, "/latest/meta-data/hostname", "POST")[0] == 501
    assert ask(port, "/latest/meta-data/hostname", source="127.0.0.2")[0] == 404, "the source is nobody here"
    assert "hunter2" not in caplog.text


def _idle(port: int, source: str, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) for _ in range(count)]


def test_slow_guests_are_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests that hold every place without asking anything lose them at the deadline."""
    monkeypatch.setattr(service, "_DEADLINE_S", 0.3)
    guests = range(service._CONCURRENT // service._OF_ONE_GUEST)
    idle = [held for n in guests for held in _idle(port, f"127.0.0.{n + 2}", service._OF_ONE_GUEST)]
    assert ask(port, "/latest/meta-data/hostname") == (200, b"web-1")
    for held in idle:
        held.close()


def test_one_guest_does_not_have_every_place(port: int) -> None:
    """Its further connections are closed at once; others are answered meanwhile, and it is again when it has ended."""
    idle = _idle(port, "127.0.0.2", 2 * service._CONCURRENT)
    assert ask(port, "/latest/meta-data/hostname") == (200, b"web-1")
    closed = [held for held in idle[service._OF_ONE_GUEST :] if held.recv(1) == b""]
    assert len(closed) == 2 * service._CONCURRENT - service._OF_ONE_GUEST
    for held in idle:
        held.close()
    while True:
        try:
            assert ask(port, "/latest/meta-data/hostname", source="127.0.0.2")[0] == 404
            break
        except (ConnectionError, http.client.HTTPException):
            continue  # the service has not seen yet that they ended


def test_a_new_socket_replaces_the_former(store: MetadataStore) -> None:
    store.put(guest(ports=(local_wiring(),)))
    served = MetadataService(store)
    former, fresh = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    address = fresh.getsockname()[1]
    served.listen(NETWORK, former)
    served.listen(NETWORK, fresh)
    assert ask(address, "/latest/meta-data/hostname")[0] == 200
    served.stop()
