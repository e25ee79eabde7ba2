"""Keys and tokens that do not count any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from pileus import certificates, clock
from pileus.agent.commands import CertificateRequest
from pileus.db import Database, Session
from pileus.errors import Forbidden
from pileus.jointoken import Application, parse
from pileus.membership import agents, authority
from pileus.membership.members import Members
from pileus.membership.model import Agent, JoinTokenRow
from pileus.operations import ids
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


@pytest.fixture
def members(db: Database) -> Members:
    return Members(db, Settings(state="/nowhere"))


def application(token: str) -> Application:
    known = parse(token)
    asked = certificates.request(certificates.new_key()).decode()
    said = Application(
        token=known.id, name="rack1", simulates=False, address="10.0.0.5:7000", request=asked, at=int(clock.time())
    )
    return said.sealed_with(known.key)


def join(session: Session, said: Application) -> None:
    agents.join(session, said, ids.cloud_id(session), 3600)


def keys(members: Members) -> tuple[str, ...]:
    way = members.way_to("rack1")
    assert isinstance(way, Remote)
    return way.keys


def key_of(said: Application | CertificateRequest) -> str:
    return certificates.requested_key(said.request.encode()).decode()


@pytest.mark.parametrize("apart_s", [-310, 310])
def test_an_application_of_another_time_is_refused(db: Database, apart_s: int) -> None:
    """Who heard it cannot make a host that was forgotten a member again."""
    with db.write() as session:
        token = agents.issue_token(session, 3600)
        said = application(token)
        old = replace(said, at=said.at + apart_s).sealed_with(parse(token).key)
        with pytest.raises(Forbidden, match="clocks"):
            join(session, old)
        join(session, said)


def test_tokens_are_taken_back(db: Database) -> None:
    with db.write() as session:
        said = application(agents.issue_token(session, 3600))
        session.flush()
        assert agents.take_tokens_back(session) == 1
        session.expire_all()
        with pytest.raises(Forbidden):
            join(session, said)


def test_a_host_that_was_forgotten_is_not_the_new_one_of_its_name(db: Database, members: Members) -> None:
    with db.write() as session:
        token = agents.issue_token(session, 3600)
        former, new = application(token), application(token)
        join(session, former)
    assert keys(members) == (key_of(former),)
    with db.write() as session:
        agents.forget(session, "rack1")
        join(session, new)
    assert keys(members) == (key_of(new),)


def test_a_host_that_may_not_have_heard_of_its_new_certificate_is_known_by_both(db: Database, members: Members) -> None:
    with db.write() as session:
        said = application(agents.issue_token(session, 3600))
        join(session, said)
    asked = [
        CertificateRequest(request=certificates.request(certificates.new_key()).decode(), ends=0.0) for _ in range(2)
    ]
    for _ in range(2):  # the answer was lost
        assert members.certify("rack1", asked[0]) is not None
        assert keys(members) == (key_of(said), key_of(asked[0]))
    with db.write() as session:
        key = session.scalars(select(JoinTokenRow.key)).one()
        join(session, replace(said, address="10.0.0.6:7000").sealed_with(key))
        assert session.get_one(Agent, "rack1").address == "10.0.0.6:7000"
    assert members.certify("rack1", asked[1]) is not None
    assert keys(members) == (key_of(asked[0]), key_of(asked[1])), "it had the one before"
