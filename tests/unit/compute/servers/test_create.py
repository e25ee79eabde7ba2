"""Requests for servers: checked before anything is locked, written at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from pileus.compute import create
from pileus.compute.model import Server
from pileus.compute.placement_model import ServerGroup
from pileus.db import Session
from pileus.network.model import SecurityGroup
from tests.client import Client
from tests.unit.counting import statements
from tests.unit.serving import Serving

VERSION = {"OpenStack-API-Version": "compute 2.104"}


def test_a_refusal_waits_for_no_writer(serving: Serving, demo: Client, boot: Callable[..., str]) -> None:
    boot()
    body = {"server": {"name": "s", "flavorRef": "nonesuch", "imageRef": "i", "networks": "none"}}
    with ThreadPoolExecutor() as pool, serving.db.write():
        answer = pool.submit(demo, "POST", "/compute/v2.1/servers", json=body, headers=VERSION)
        assert answer.result(timeout=30).status_code == 400


def test_many_servers_take_the_statements_of_one(serving: Serving, boot: Callable[..., str]) -> None:
    boot()

    def kinds(count: int) -> list[str]:
        seen = statements(serving, lambda: boot(min_count=count, max_count=count, tags=["a", "b"]))
        return [one.partition("(")[0] for one in seen]

    assert kinds(1) == kinds(5)


def test_servers_of_one_request(serving: Serving, boot: Callable[..., str]) -> None:
    first = boot(name="web", min_count=3, max_count=3, tags=["b", "a"], metadata={"k": "v"})
    with serving.db.read() as session:
        reservation_id = session.get_one(Server, first).reservation_id
        query = select(Server).where(Server.reservation_id == reservation_id).order_by(Server.number)
        made = session.scalars(query).all()
        assert [(one.name, one.hostname, one.launch_index) for one in made] == [
            (f"web-{n}", f"web-{n}", n - 1) for n in (1, 2, 3)
        ]
        assert [one.number - made[0].number for one in made] == [0, 1, 2]
        assert made[0].id == first
        assert [(one.tags, one.metadata_) for one in made] == [(["a", "b"], {"k": "v"})] * 3


def test_the_default_group_is_made_with_the_first_server(serving: Serving, boot: Callable[..., str]) -> None:
    server_id = boot()
    with serving.db.read() as session:
        server = session.get_one(Server, server_id)
        (group_id,) = session.scalars(
            select(SecurityGroup.id).where(SecurityGroup.project_id == server.project_id)
        ).all()
        assert server.security_groups == [group_id]


def test_a_server_group_that_went_away_meanwhile(
    serving: Serving, demo: Client, boot: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the checks and the write others write: what the row refers to is looked at again."""
    body = {"server_group": {"name": "g", "policy": "affinity"}}
    group_id = demo("POST", "/compute/v2.1/os-server-groups", json=body, headers=VERSION).json["server_group"]["id"]
    checked = create.prepare

    def then_gone(session: Session, *args: Any) -> create.Wanted:
        wanted = checked(session, *args)
        with serving.db.write() as writing:
            writing.delete(writing.get_one(ServerGroup, group_id))
        return wanted

    monkeypatch.setattr(create, "prepare", then_gone)
    with pytest.raises(AssertionError, match=f"Instance group {group_id} could not be found"):
        boot(hints={"group": group_id})
