"""The order of locks (operations/model.py), as PostgreSQL sees it: who waits for what, and what he has by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from pileus.cloud import Cloud
from pileus.compute import flavors, hosts, quotas
from pileus.compute.model import Host, Server
from pileus.db import Database, Session, utcnow
from pileus.identity.model import Project
from pileus.placement import allocations
from pileus.settings import Settings
from tests.databases import Databases
from tests.unit.compute.world import World, host_report, report_of
from tests.unit.locks import waits
from tests.unit.network.conftest import Caller, as_first_started

NAMES = ["h0", "h1", "h2"]


@pytest.fixture
def db(tmp_path: Path, databases: Databases) -> Iterator[Database]:
    """A cloud's database with hosts, the last one first in the table."""
    with databases.copy(as_first_started, tmp_path / "t.db") as database:
        if database.sqlite:
            pytest.skip("SQLite's writers are alone")
        for name in reversed(NAMES):
            _report(database, name)
        yield database


def _report(db: Database, *names: str, room: int = 4) -> None:
    with db.write() as session:
        hosts.register(session, report_of(*(host_report(name, room) for name in names)), utcnow())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """A thread for what has to wait."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def free(session: Session) -> list[str]:
    """The hosts whose rows nobody else has."""
    query = select(Host.name).order_by(Host.name).with_for_update(skip_locked=True)
    return list(session.scalars(query))


def hear(db: Database) -> None:
    with db.write() as session:
        hosts.heard_of(session, NAMES)


@pytest.mark.parametrize("work", [hear, lambda db: _report(db, *NAMES), lambda db: _report(db, *NAMES, room=5)])
def test_replicas_that_hear_of_the_same_hosts_take_them_by_name(
    db: Database, pool: ThreadPoolExecutor, work: Callable[[Database], None]
) -> None:
    with db.write() as session:
        session.execute(select(Host).where(Host.name == "h1").with_for_update())
        done = pool.submit(work, db)
        waits(db, done)
        with db.write() as other:
            assert free(other) == ["h2"]
    done.result(10)


def test_a_sign_of_life_does_not_wait_for_servers_being_placed(db: Database, pool: ThreadPoolExecutor) -> None:
    with db.write() as session:
        # As a server that refers to its host does.
        session.execute(select(Host).where(Host.name == "h1").with_for_update(read=True, key_share=True))
        pool.submit(hear, db).result(10)


def test_who_changes_a_service_has_placement_before_the_host(
    db: Database, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    admin = Caller(Cloud(Settings(state=str(tmp_path), bcrypt_rounds=4), db), "admin")
    with db.read() as session:
        service_id = session.scalars(select(Host.service_id).where(Host.name == "h1")).one()

    def disable() -> int:
        path, headers = f"/compute/v2.1/os-services/{service_id}", {"OpenStack-API-Version": "compute 2.53"}
        headers["X-Auth-Token"] = f"{admin.token}"
        return int(admin.send("PUT", path, json={"status": "disabled"}, headers=headers).status_code)

    with db.write() as session:
        session.lock(allocations.LOCK)
        done = pool.submit(disable)
        waits(db, done)
        assert free(session) == NAMES
    assert done.result(10) == 200


def test_who_resizes_has_the_quota_before_the_server(db: Database, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    demo = Caller(Cloud(Settings(state=str(tmp_path), bcrypt_rounds=4), db), "demo")
    with db.write() as session:
        project = session.scalars(select(Project.id).where(Project.name == "demo")).one()
        flavors.bootstrap(session)
        server_id = World(db).server(session, vm_state="active", host="h1", project_id=project)

    def resize() -> int:
        path = f"/compute/v2.1/servers/{server_id}/action"
        headers = {"X-Auth-Token": f"{demo.token}"}
        return int(demo.send("POST", path, json={"resize": {"flavorRef": "84"}}, headers=headers).status_code)

    with db.write() as session:
        quotas.QUOTAS.lock(session, project)
        done = pool.submit(resize)
        waits(db, done)
        with db.write() as other:
            assert list(other.scalars(select(Server.id).with_for_update(skip_locked=True))) == [server_id]
    assert done.result(10) == 202
