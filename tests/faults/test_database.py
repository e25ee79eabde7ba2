"""A database that is restarted the hard way during a batch, taken away, or put back to an older state."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.api.conftest import FAKE
from tests.faults.conftest import Victim
from tests.postgres import Postgres
from tests.support import CloudUnderTest, eventually

SERVERS = int(os.environ.get("STORM_SERVERS", "200"))
RESTARTS = int(os.environ.get("STORM_RESTARTS", "3"))
IN_ONE_REQUEST = 100


@pytest.fixture
def on_postgres(postgres: Postgres) -> Iterator[Victim]:
    cloud = CloudUnderTest(postgres.new_database(), *FAKE, "--fake-hosts", "10")
    yield Victim(cloud)
    cloud.remove()


@pytest.fixture
def on_sqlite() -> Iterator[Victim]:
    """A cloud whose database is a file that can be put away."""
    cloud = CloudUnderTest(None, *FAKE, "--fake-hosts", "2")
    yield Victim(cloud)
    cloud.remove()


def _tried(ask: Callable[[], Any]) -> Any:
    """A client that asks again when it is told that the database was away, and only then."""

    def once() -> Any:
        answer = ask()
        assert answer.status_code in (202, 204, 404, 500, 503), answer.text
        return answer if answer.status_code < 500 else None

    return eventually(once, 60, "an answer")


def _count(victim: Victim, where: str) -> int:
    return int(victim.cloud.query(f"SELECT count(*) FROM servers WHERE {where}")[0][0])


def _unlimited(victim: Victim) -> None:
    admin = victim.cloud.connect("admin")
    limits = {"instances": -1, "cores": -1, "ram": -1}
    admin.compute.put(f"/os-quota-sets/{admin.current_project_id}", json={"quota_set": limits})
    admin.network.put(f"/quotas/{admin.current_project_id}", json={"quota": {"port": -1}})


def _batch(victim: Victim, servers: int) -> None:
    body = {"name": "storm", "imageRef": victim.image, "flavorRef": "42", "networks": [{"uuid": victim.network}]}
    many = {"min_count": servers, "max_count": servers}
    answer = _tried(lambda: victim.compute.post("/servers", json={"server": body | many}, microversion="2.37"))
    assert answer.status_code == 202, answer.text


def test_nothing_is_lost_when_postgresql_is_restarted_during_a_batch_and_its_deletion(
    on_postgres: Victim, postgres: Postgres
) -> None:
    victim = on_postgres
    _unlimited(victim)
    began = time.monotonic()
    for _ in range(SERVERS // IN_ONE_REQUEST):
        _batch(victim, IN_ONE_REQUEST)
    accepted = _count(victim, "deleted_at IS NULL")
    for part in range(1, RESTARTS + 1):
        share = accepted * part // (RESTARTS + 2)
        eventually(lambda share=share: _count(victim, "vm_state = 'active'") >= share, 300, f"{share} servers")
        postgres.restart()
    eventually(lambda: _count(victim, "vm_state = 'building'") == 0, 300, "the end of every boot")
    booted = time.monotonic() - began
    assert _count(victim, "deleted_at IS NULL AND (vm_state <> 'active' OR host IS NULL)") == 0
    victim.assert_holds_exactly(accepted)

    began = time.monotonic()
    ids = [row[0] for row in victim.cloud.query("SELECT id FROM servers WHERE deleted_at IS NULL")]
    every = max(1, len(ids) // (RESTARTS + 1))
    for number, server_id in enumerate(ids):
        _tried(lambda server_id=server_id: victim.compute.delete(f"/servers/{server_id}"))
        if number and number % every == 0:
            postgres.restart()
    eventually(lambda: _count(victim, "deleted_at IS NULL") == 0, 300, "the end of every server")
    victim.assert_holds_exactly(0)
    print(f"{accepted} servers, {RESTARTS} restarts: booted {booted:.1f} s, deleted {time.monotonic() - began:.1f} s")


def test_deletes_during_boots_take_their_locks_in_one_order(on_postgres: Victim, postgres: Postgres) -> None:
    victim = on_postgres
    _unlimited(victim)
    _batch(victim, 100)
    for (server_id,) in victim.cloud.query("SELECT id FROM servers WHERE deleted_at IS NULL"):
        assert victim.compute.delete(f"/servers/{server_id}").status_code in (204, 404)
    eventually(lambda: _count(victim, "deleted_at IS NULL") == 0, 120, "the end of every server")
    victim.assert_holds_exactly(0)
    assert "deadlock detected" not in postgres.log()


def test_a_database_taken_away_costs_no_guest(on_sqlite: Victim) -> None:
    victim = on_sqlite
    server_id = victim.boot()
    assert victim.settled(server_id).status == "ACTIVE"
    [guest] = victim.guests()
    victim.cloud.down("--keep-guests")
    database = victim.cloud.state / "db"
    database.rename(victim.cloud.state / "db.away")
    victim.cloud.up()
    eventually(lambda: "belongs to another cloud" in victim.cloud.log(), 30, "the host's refusal")
    assert "another cloud" in victim.cloud.pileus("status")
    assert victim.guests() == [guest]
    victim.cloud.down("--keep-guests")
    for path in database.iterdir():
        path.unlink() if path.is_file() else path.rmdir()
    database.rmdir()
    (victim.cloud.state / "db.away").rename(database)
    victim.cloud.up()
    assert victim.settled(server_id).status == "ACTIVE"
    victim.compute.delete_server(server_id)
    victim.gone(server_id)
    victim.assert_holds_exactly(0)


def test_an_older_backup_put_back_costs_no_guest(on_sqlite: Victim) -> None:
    victim = on_sqlite
    before = victim.boot()
    assert victim.settled(before).status == "ACTIVE"
    backup = victim.cloud.pileus("db", "backup").strip()
    after = victim.boot()
    assert victim.settled(after).status == "ACTIVE"
    victim.cloud.down("--keep-guests")
    database = victim.cloud.state / "db" / "pileus.db"
    for path in database.parent.glob("pileus.db-*"):
        path.unlink()
    shutil.copyfile(backup, database)
    victim.cloud.up()
    eventually(lambda: after in victim.cloud.pileus("status"), 30, "the unknown guest in the status")
    assert len(victim.guests()) == 2
    assert victim.compute.get_server(before).status == "ACTIVE"
    victim.cloud.pileus("guest", "discard", _on(victim, after), after)
    victim.compute.delete_server(before)
    victim.gone(before)
    victim.assert_holds_exactly(0)


def _on(victim: Victim, server_id: str) -> str:
    """The host that has a guest."""
    return next(path.parent.name for path in victim.guests() if path.name == server_id)
