"""Rows that are read past the mapper are what the mapper would have loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm.exc import UnmappedInstanceError

from pileus.compute.model import Server
from pileus.compute.placement_model import ServerGroup
from pileus.db import Base, Database, utcnow
from pileus.db.reading import Load, Reader
from pileus.network.model import Network, Pool, Subnet
from tests.databases import Databases, migrated
from tests.unit.db.rows import a_server

LOADS = [Load(Network.tag_rows), Load(Network.subnets, Load(Subnet.pools), Load(Subnet.network))]


def filled(db: Database) -> None:
    """Two networks, of which one has subnets and tags; a group with two servers, of which one was deleted."""
    migrated(db)
    with db.write() as session:
        for name in ("bare", "full"):
            session.add(
                Network(id=name, project_id="p", name=name, mtu=1, network_type="geneve", segmentation_id=len(name))
            )
        session.flush()
        full = session.get_one(Network, "full")
        full.tags = ["b", "a"]
        for name in ("second", "first"):
            subnet = Subnet(id=name, project_id="p", network_id="full", ip_version=4, cidr="10.0.0.0/24")
            subnet.created_at = utcnow().replace(year=2000 if name == "first" else 2001)
            subnet.pools = [Pool(position=n, start="10.0.0.1", end="10.0.0.2", cursor=0) for n in (1, 0)]
            full.subnets.append(subnet)
        session.add(ServerGroup(id="g", name="g", project_id="p", user_id="u", policy="affinity", created_at=utcnow()))
        session.flush()
        for number, name in enumerate(("there", "gone")):
            session.add(a_server(number, name))


@pytest.fixture
def db(tmp_path: Path, databases: Databases) -> Iterator[Database]:
    with databases.copy(filled, tmp_path / "pileus.db") as db:
        yield db


def read(db: Database, reader: Reader[Any]) -> list[Any]:
    with db.read() as session:
        return reader.fetch(session, reader.query, {})


@pytest.mark.parametrize("model", [Network, Subnet, Server])
def test_columns(db: Database, model: type[Base]) -> None:
    names = [attribute.key for attribute in inspect(model).column_attrs]
    with db.read() as session:
        loaded = [[getattr(row, name) for name in names] for row in session.scalars(select(model))]
    shown = [[getattr(row, name) for name in names] for row in read(db, Reader(model))]
    assert sorted(map(str, shown)) == sorted(map(str, loaded))


def test_what_belongs_to_them(db: Database) -> None:
    bare, full = sorted(read(db, Reader(Network, LOADS)), key=lambda row: str(row.name))
    assert (bare.tags, bare.subnets) == ([], [])
    assert full.tags == ["a", "b"]
    assert [subnet.id for subnet in full.subnets] == ["first", "second"]
    assert [pool.position for pool in full.subnets[0].pools] == [0, 1]
    assert full.subnets[0].network.name == "full"


def test_the_relationship_says_what_belongs_to_them(db: Database) -> None:
    (group,) = read(db, Reader(ServerGroup, [Load(ServerGroup.servers, only=[Server.id])]))
    assert [server.id for server in group.servers] == ["there"]
    assert "name" not in vars(group.servers[0])


def test_what_was_not_read_is_not_made_up(db: Database) -> None:
    network = read(db, Reader(Network, only=[Network.id]))[0]
    for name in ("subnets", "name"):
        with pytest.raises(AttributeError):
            getattr(network, name)


def test_they_cannot_be_written(db: Database) -> None:
    network = read(db, Reader(Network, [Load(Network.tag_rows)]))[0]
    for name in ("name", "tags", "else"):
        with pytest.raises(TypeError):
            setattr(network, name, ["x"])
    with db.write() as session, pytest.raises(UnmappedInstanceError):
        session.add(network)


def test_the_mapper_loads_the_same(db: Database) -> None:
    with db.write() as session:
        query = select(Network).where(Network.name == "full").options(*(load.option for load in LOADS))
        full = session.scalars(query).unique().one()
        assert not {"tag_rows", "subnets"} & inspect(full).unloaded
        session.expunge_all()
        full = session.scalars(query.options(Load(Network.subnets, only=[Subnet.id]).option)).unique().one()
        assert "cidr" not in inspect(full.subnets[0]).unloaded
        group = session.scalars(select(ServerGroup).options(Load(ServerGroup.servers, only=[Server.id]).option)).one()
        assert "name" in inspect(group.servers[0]).unloaded
