"""What projects use is kept by the database: whatever statement changes the rows, and whoever else writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, func, insert, select, text, update

from pileus.api import quota_uses
from pileus.api.quota_uses import QuotaUse
from pileus.cloud import Cloud
from pileus.db import Database, Session, new_id, utcnow
from pileus.image.model import Image
from pileus.network import networks, ports
from pileus.network.model import METADATA_OWNER, Port
from pileus.network.quotas import QUOTAS
from pileus.settings import Settings
from tests.databases import Databases, migrated
from tests.unit import uses

P, Q = "project", "quilt"


@pytest.fixture
def db(tmp_path: Path, databases: Databases) -> Iterator[Database]:
    with databases.copy(migrated, tmp_path / "t.db") as database:
        yield database


def image(**values: Any) -> dict[str, Any]:
    now = utcnow()
    row = {"id": new_id(), "status": "queued", "visibility": "private", "properties": {}, "min_disk": 0, "min_ram": 0}
    return row | {"name": "i", "protected": False, "os_hidden": False, "created_at": now, "updated_at": now} | values


WRITES: list[Callable[[Session], Any]] = [
    lambda session: session.execute(insert(Image), [image(owner=P, size=n) for n in (None, 0, 5)]),
    lambda session: session.execute(insert(Image), [image(owner=None, size=9), image(owner=Q, size=2**40)]),
    lambda session: session.execute(update(Image).where(Image.owner == P).values(status="saving")),
    lambda session: session.execute(update(Image).values(status="active", size=7)),
    lambda session: session.execute(update(Image).where(Image.owner == P).values(owner=Q)),
    lambda session: session.execute(update(Image).where(Image.owner == Q).values(owner=None)),
    lambda session: session.execute(delete(Image).where(Image.owner == Q)),
    lambda session: session.execute(delete(Image).where(Image.size == 7)),
    lambda session: session.rollback(),
    lambda session: quota_uses.settled(session, "image", P),
]


@settings(max_examples=40)
@given(writes=st.lists(st.sampled_from(WRITES), max_size=12), many=st.sampled_from([0, 200]))
def test_what_is_kept_is_what_there_is(db: Database, writes: list[Callable[[Session], Any]], many: int) -> None:
    with pytest.MonkeyPatch.context() as patch, db.write() as session:
        patch.setattr(quota_uses, "MANY", many)
        session.execute(delete(Image))
        for write in writes:
            write(session)
    uses.compare(db)


def test_many_entries_become_few(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_uses, "MANY", 10)
    with db.write() as session:
        session.execute(insert(Image), [image(owner=P, size=1) for _ in range(20)])
        assert quota_uses.settled(session, "image", P) == {"image_count_total": 20, "image_size_total": 20}
        assert session.scalar(select(func.count()).select_from(QuotaUse)) == 2
        assert quota_uses.used(session, "image", P) == {"image_count_total": 20, "image_size_total": 20}
    uses.compare(db)


def test_entries_of_projects_that_only_give_back_become_few(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota_uses, "MANY", 10)
    with db.write() as session:
        session.execute(insert(Image), [image(owner=P)] + [image(owner=Q) for _ in range(11)])
        session.execute(delete(Image).where(Image.owner == Q))
    assert (quota_uses.settle_all(db), quota_uses.settle_all(db)) == (1, 0)
    with db.read() as session:
        assert session.scalar(select(func.count()).where(QuotaUse.project_id == Q)) == 0
    uses.compare(db)


def test_counting_reads_no_rows(db: Database) -> None:
    """Nothing that a project asks for depends on how much it has."""
    with db.write() as session:
        session.execute(insert(Image), [image(owner=P, size=1) for _ in range(20)])
        seen: list[str] = []
        event.listen(db.engine, "before_cursor_execute", lambda _c, _k, statement, *_: seen.append(statement))
        assert QUOTAS.take(session, P, {"port": 1}, at_most=9) == 9
        assert all("FROM quota" in one or "advisory" in one for one in seen)


def test_the_clouds_own_ports_are_nobodys_use(db: Database) -> None:
    cloud = Cloud(Settings(state="/nowhere"), db)
    with cloud.db.write() as session:
        network = networks.create(session, {"project_id": P, "name": "n", "is_default": False})
        made = [ports.create(session, {"project_id": P, "network_id": network.id}) for _ in range(2)]
        assert QUOTAS.used(session, P, "port", "network") == {"port": 2, "network": 1}
        session.execute(update(Port).where(Port.id == made[0].id).values(device_owner=METADATA_OWNER))
        assert QUOTAS.used(session, P, "port") == {"port": 1}
    uses.compare(cloud.db)


def test_a_migrated_database_counts_as_a_new_one(db: Database) -> None:
    """Its triggers are those that the models say."""
    wanted = [one for counted in uses.EVERY for one in counted.triggers(db.engine.dialect)]
    with db.read() as session:
        if db.sqlite:
            there = list(session.scalars(text("SELECT sql FROM sqlite_master WHERE type = 'trigger'")))
        else:
            triggers = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'quota_%'"
            there = [one.replace(" ON public.", " ON ") for one in session.scalars(text(triggers))]
            functions = "SELECT proname, prosrc FROM pg_proc WHERE proname LIKE 'quota_%'"
            there += [
                f"CREATE FUNCTION {row.proname}() RETURNS trigger LANGUAGE plpgsql AS $${row.prosrc}$$"
                for row in session.execute(text(functions))
            ]
    assert sorted(there) == sorted(wanted)
