"""Which northbound database a replica uses, and by what papers it is known there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pileus import certificates
from pileus.agent.commands import CertificateRequest
from pileus.agent.papers import PapersFolder
from pileus.cloud import Cloud
from pileus.db import Database
from pileus.errors import Unavailable
from pileus.membership import agents, authority
from pileus.membership.members import DIAL_S, Members
from pileus.network.northbound.fake import FakeNorthbound
from pileus.network.northbound.ovn import OvnNorthbound
from pileus.operations import ids, leases
from pileus.operations.wires import Remote
from pileus.settings import Settings
from tests.databases import Databases, migrated


@pytest.fixture
def db(tmp_path: Path, databases: Databases) -> Iterator[Database]:
    with databases.copy(migrated, tmp_path / "t.db") as db:
        with db.write() as session:
            ids.make_cloud_id(session)
            session.flush()
            authority.found(session)
        yield db


def first(**other: str) -> Settings:
    values = {"state": "/nowhere", "network": "ovn", "hypervisor": "libvirt", "name": "one", "listen": "10.0.0.1:8780"}
    return Settings(**(values | other))  # type: ignore[arg-type]


def replica() -> Settings:
    return Settings(state="/nowhere", role="replica", network="fake", hypervisor="fake", listen="10.0.0.2:8780")


@contextmanager
def started(db: Database, settings: Settings) -> Iterator[Cloud]:
    """As far as a start decides which northbound database it uses."""
    cloud = Cloud(settings, db)
    try:
        with db.write() as session:
            cloud._choose_northbound(session)
        yield cloud
    finally:
        cloud.logins.close()


def test_a_replica_elsewhere_uses_the_database_on_centrals_machine(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(way: Remote, timeout_s: float) -> None:
        raise ConnectionRefusedError(f"nobody at {way.host}")

    monkeypatch.setattr(Remote, "open", unreachable)
    with started(db, first()) as one:
        assert isinstance(one.northbound, OvnNorthbound)
        with started(db, replica()) as two:
            assert isinstance(two.northbound, OvnNorthbound)
            with pytest.raises(Unavailable, match="network database"):
                two.northbound.drop_port("p")  # a debt stays
            two.northbound.close()
        with db.read() as session:
            assert leases.alive(session) == 2
            central = agents.central(session)
            assert central is not None and (central.name, central.northbound) == ("one", "10.0.0.1:6641")


def test_where_agents_are_awaited_replicas_find_the_database(db: Database) -> None:
    with started(db, first(agent_listen="[fd00::1]:7000")), db.read() as session:
        central = agents.central(session)
        assert central is not None and central.northbound == "[fd00::1]:6641"


def test_replicas_of_a_cloud_without_ovn_simulate_its_networks(db: Database) -> None:
    with started(db, first(network="fake")) as one, started(db, replica()) as two:
        assert isinstance(one.northbound, FakeNorthbound) and isinstance(two.northbound, FakeNorthbound)


def test_a_replica_that_simulates_networks_gets_no_ovn_beside_it(db: Database) -> None:
    """It would strike out what OVN is owed."""
    with started(db, replica()), pytest.raises(Unavailable, match="simulated"), started(db, first()):
        pass
    with db.read() as session:
        assert agents.central(session) is None


@pytest.mark.parametrize("other", [{"name": "two"}, {"network": "fake"}, {"name": "two", "network": "fake"}])
def test_a_cloud_has_one_central(db: Database, other: dict[str, str]) -> None:
    with started(db, first()):
        pass
    mistaken = first(**other)
    mistaken.replica_id = "another"
    with pytest.raises(Unavailable, match="is on one"), started(db, mistaken):
        pass
    with started(db, first()) as again:
        assert isinstance(again.northbound, OvnNorthbound)


def test_the_database_is_known_by_its_machines_agent(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a replica by the authority that signs for replicas alone, which the agent is told."""
    dialled: list[tuple[Remote, float]] = []
    monkeypatch.setattr(Remote, "open", lambda way, timeout_s: dialled.append((way, timeout_s)))
    members = Members(db, replica())
    with pytest.raises(Unavailable, match="no OVN central"):
        members.dial_northbound()
    with started(db, first()):
        pass
    key = certificates.new_key()
    given = members.certify("one", CertificateRequest(request=certificates.request(key).decode(), ends=0.0))
    assert given is not None
    for _ in range(2):
        members.dial_northbound()
    (way, timeout_s), (again, _) = dialled
    assert (way.host, way.port, way.who.name, timeout_s) == ("10.0.0.1", 6641, "one", DIAL_S)
    assert way.keys == (certificates.public_of(key).decode(),)
    assert way.papers == again.papers, "they are kept while they are good"
    assert signed(way.papers.certificate, given.replicas) and not signed(way.papers.certificate, given.authority)
    assert not signed(given.certificate.encode(), given.replicas), "an agent's"
    assert way.papers.authority == given.authority.encode()


def signed(certificate: bytes, authority_: str) -> bool:
    """Whether an authority signed a certificate."""
    try:
        issuer = x509.load_pem_x509_certificate(authority_.encode())
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_the_agent_beside_ovns_central_wants_to_know_the_replicas_authority(tmp_path: Path, db: Database) -> None:
    """Also one whose certificate an earlier release gave."""
    members = Members(db, replica())
    with started(db, first()):
        pass
    folder = PapersFolder(tmp_path / "papers", central=True)
    given = members.certify("one", folder.request())
    assert given is not None
    folder.take(msgspec.structs.replace(given, replicas=""))
    assert not folder.pems.replicas.exists() and folder.request().ends == 0.0
    assert PapersFolder(tmp_path / "papers").request().ends > 0, "any other agent's is whole"
    given = members.certify("one", folder.request())
    assert given is not None
    folder.take(given)
    assert folder.pems.replicas.read_text() == given.replicas and folder.request().ends > 0
