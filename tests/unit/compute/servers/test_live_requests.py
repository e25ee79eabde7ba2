"""What live migrations may be asked for, at each microversion, and what hosts are told of it."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.agent.commands import AwaitGuest, MigrateGuest
from pileus.compute.parameters import SLACK_S
from tests.client import Client
from tests.unit.compute.servers.live_world import ANY, LiveWorld, Result, world
from tests.unit.compute.servers.world import SERVERS

__all__ = ["world"]

OLD = {"host": None, "block_migration": True, "disk_over_commit": False}


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("2.1", OLD, 202),
        ("2.24", OLD | {"block_migration": "auto"}, 400),
        ("2.24", ANY, 400),
        ("2.25", OLD, 400),
        ("2.25", ANY, 202),
        ("2.29", ANY | {"force": False}, 400),
        ("2.30", ANY | {"force": "no"}, 202),
        ("2.30", ANY | {"force": True}, 400),
        ("2.67", ANY | {"force": "yes"}, 400),
        ("2.67", ANY | {"block_migration": "Yes"}, 202),
        ("2.67", ANY | {"block_migration": "Auto"}, 400),
        ("2.68", ANY | {"force": True}, 400),
        ("2.104", {"host": None}, 400),
        ("2.104", {"block_migration": True}, 400),
        ("2.104", ANY | {"host": "n o"}, 400),
    ],
)
def test_bodies(world: LiveWorld, version: str, body: Any, status: int) -> None:
    headers = {"OpenStack-API-Version": f"compute {version}"}
    path = f"{SERVERS}/{world.id}/action"
    assert world.admin("POST", path, json={"os-migrateLive": body}, headers=headers).status_code == status


def test_hosts_that_are_asked_for(world: LiveWorld) -> None:
    def ask(host: str | None, version: str, user: Client | None = None) -> Any:
        headers = {"OpenStack-API-Version": f"compute {version}"}
        body = (ANY if version != "2.1" else OLD) | {"host": host}
        return (user or world.admin)(
            "POST", f"{SERVERS}/{world.id}/action", json={"os-migrateLive": body}, headers=headers
        )

    assert ask(None, "2.104", world.demo).status_code == 403
    for version in ("2.1", "2.104"):
        assert "could not be found" in ask("nowhere", version).text
    assert "to current host" in ask(world.source, "2.1").text
    world.change_other(forced_down=True)
    assert "unavailable" in ask(world.other, "2.1").text and "No valid host" in ask(None, "2.1").text
    assert ask(world.other, "2.34").status_code == 202
    world.replica.run()
    assert world.status() == ("ACTIVE", world.source, "error")


@pytest.mark.parametrize("version", ["2.1", "2.24", "2.33"])
def test_who_names_no_host_reads_of_none(world: LiveWorld, version: str) -> None:
    """A project's manager may migrate its servers, and does not see where they are."""
    world.change(world.source, forced_down=True)
    headers = {"OpenStack-API-Version": f"compute {version}"}
    body = OLD if version != "2.33" else ANY
    answer = world.admin("POST", f"{SERVERS}/{world.id}/action", json={"os-migrateLive": body}, headers=headers)
    assert answer.status_code == 400 and "Compute service of #1 is unavailable" in answer.text
    assert world.source not in answer.text


@pytest.mark.parametrize(
    ("version", "said", "where"),
    [("2.29", {}, "completed"), ("2.30", {"force": True}, "completed"), ("2.30", {}, "error"), ("2.68", {}, "error")],
)
def test_a_host_that_is_forced_is_not_judged(world: LiveWorld, version: str, said: Result, where: str) -> None:
    """Before 2.30 whoever names a host forces it."""
    world.change_other(disabled=True)
    headers = {"OpenStack-API-Version": f"compute {version}"}
    body = ANY | {"host": world.other} | said
    path = f"{SERVERS}/{world.id}/action"
    assert world.admin("POST", path, json={"os-migrateLive": body}, headers=headers).status_code == 202
    world.replica.run()
    assert world.status()[2] == where


@pytest.mark.parametrize(("asked", "block"), [("auto", None), (True, True), ("False", False)])
def test_whether_disks_are_copied(world: LiveWorld, asked: Any, block: bool | None) -> None:
    world.migrate(block_migration=asked)
    (awaited,) = (one.command for one in world.hosts.sent if isinstance(one.command, AwaitGuest))
    assert awaited.block is block and awaited.guest.incarnation == 3


def test_how_long_it_may_take(world: LiveWorld) -> None:
    world.serving.settings.live_migration_completion_timeout = 10.0
    world.serving.settings.live_migration_timeout_action = "force_complete"
    world.migrate()
    (command,) = (one.command for one in world.hosts.sent if isinstance(one.command, MigrateGuest))
    assert (command.timeout_s, command.force) == (20.0, True)


def test_without_a_time_out_it_may_take_a_week(world: LiveWorld) -> None:
    world.serving.settings.live_migration_completion_timeout = 0.0
    world.migrate()
    (sent,) = (one for one in world.hosts.sent if isinstance(one.command, MigrateGuest))
    assert isinstance(sent.command, MigrateGuest)
    assert (sent.command.timeout_s, sent.deadline_s) == (0, 7 * 86400 + SLACK_S)
