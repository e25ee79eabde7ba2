"""A query that is asked of the driver answers as SQLAlchemy would have it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Integer, Select, bindparam, cast, func, literal, select
from sqlalchemy.exc import DataError, DBAPIError, OperationalError

from pileus.compute import flavors
from pileus.compute.model import Flavor, Host, Server
from pileus.db import Database, Session, is_transient, is_unfit, utcnow
from pileus.db.among import among
from pileus.db.prepared import Prepared, Queries
from pileus.network.model import Network, Port
from tests.databases import Databases, migrated
from tests.unit.db.rows import a_server
from tests.unit.nouns import Nouns


def filled(db: Database) -> None:
    """A server, a host, flavors with every kind of value."""
    migrated(db)
    with db.write() as session:
        flavors.bootstrap(session)
        Nouns.add_host(session, 1, "up", 0)
        session.flush()
        server = a_server(1, "ünï 'quoted' 100%")
        server.group_id = None
        session.add(server)


@pytest.fixture
def db(tmp_path: Path, databases: Databases) -> Iterator[Database]:
    with databases.copy(filled, tmp_path / "pileus.db") as db:
        yield db


SINCE = bindparam("since", type_=Server.created_at.type)
QUERIES: list[tuple[Select[Any], dict[str, Any]]] = [
    (select(*Server.__table__.c), {}),
    (select(*Flavor.__table__.c).order_by(Flavor.id).limit(5).offset(2), {}),
    (select(Host.name, Host.heard_lately, Host.cpu_info, Host.last_seen), {}),
    (select(Server.id).where(Server.created_at >= SINCE, Server.name.like("%100\\%")), {"since": datetime(2000, 1, 1)}),
    (select(Server.id).where(Server.created_at >= SINCE), {"since": datetime(2999, 1, 1)}),
    (select(Server.flavor, Server.flavor, Server.id).where(among(Server.id, "ids")), {"ids": ["ünï 'quoted' 100%"]}),
    (select(func.count().label("how_many"), func.max(Flavor.rxtx_factor), literal(True)).select_from(Flavor), {}),
    (select(Flavor.name).where(Flavor.is_public.is_(True), Flavor.created_at < utcnow()).order_by(Flavor.name), {}),
    (select(Flavor.name).where(Flavor.name.in_(["m1.tiny", "m1.small"])).order_by(Flavor.name), {}),
    (select(Network.id).join(Port, Port.network_id == Network.id), {}),
]


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_answers(db: Database, number: int) -> None:
    query, values = QUERIES[number]
    with db.read() as session:
        assert session.reading
        wanted = session.reading.execute(query, values).all()
        for _ in range(3):
            found = session.fetch(query, **values)
            assert [tuple(row) for row in found] == [tuple(row) for row in wanted]
            assert [[type(one) for one in row] for row in found] == [[type(one) for one in row] for row in wanted]
            for row, same in zip(found, wanted, strict=True):
                assert getattr(row, same._fields[0]) == same[0]


def test_it_is_prepared_at_the_second_time(db: Database) -> None:
    queries, query = Queries(db.engine.dialect), select(Flavor.id)
    assert queries.prepared(query) is None
    assert isinstance(queries.prepared(query), Prepared)
    assert queries.prepared(query) is queries.prepared(query)
    listed = select(Flavor.id).where(Flavor.id.in_(["1"]))
    assert [queries.prepared(listed) for _ in range(3)] == [None] * 3


def test_what_is_asked_once_is_forgotten(db: Database) -> None:
    queries = Queries(db.engine.dialect)
    for _ in range(10):
        query = select(Flavor.id)
        queries.prepared(query), queries.prepared(query)
    del query
    gc.collect()
    assert len(queries._asked) == len(queries._known) == 0


def test_a_value_that_is_missing_is_a_defect(db: Database) -> None:
    query = select(Flavor.id).where(Flavor.id == bindparam("wanted"))
    with db.read() as session:
        session.fetch(query, wanted="1"), session.fetch(query, wanted="1")
        with pytest.raises(KeyError):
            session.fetch(query)


def failing(session: Session, query: Select[Any], **values: object) -> BaseException:
    with pytest.raises((DBAPIError, OverflowError)) as caught:
        for _ in range(2):
            session.fetch(query, **values)
    return caught.value


def test_errors_are_those_of_sqlalchemy(db: Database) -> None:
    number = bindparam("number", type_=Integer)
    query = select(Flavor.id).where(Flavor.vcpus > number)
    with db.read() as session:
        session.fetch(query, number=1)
        error = failing(session, query, number=2**70)
    assert is_unfit(error)
    if not db.sqlite:
        broken = select(cast(bindparam("text"), Integer))
        with db.read() as session:
            session.fetch(broken, text="1")
            error = failing(session, broken, text="one")
        assert isinstance(error, DataError)
        assert error.params is None  # they are not logged


def test_a_lost_connection_is_told_and_replaced(db: Database) -> None:
    query = select(Flavor.id)
    with db.read() as session:
        session.fetch(query)
    with pytest.raises((OperationalError, DBAPIError)) as caught, db.read() as session:
        assert session.reading
        driver: Any = session.reading.connection.driver_connection
        session.fetch(query)
        driver.close()
        session.fetch(query)
    if not db.sqlite:
        assert is_transient(caught.value)
        assert isinstance(caught.value, DBAPIError)
        assert caught.value.connection_invalidated
    with db.read() as session:
        assert session.fetch(query)
