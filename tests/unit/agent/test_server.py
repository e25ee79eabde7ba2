"""What the agent's socket serves besides commands."""

from __future__ import annotations

import http.client
import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.agent.commands import CLOUD_HEADER, BuildGuest
from pileus.agent.doors import open_unix
from pileus.agent.freight import FreightDesk
from pileus.agent.papers import PapersFolder
from pileus.agent.server import Agent
from tests.unit.agent.desk import Desk
from tests.unit.agent.specs import SERVER, guest, image_of

SECRET = "Tr0ub4dor"


@pytest.fixture
def agent(desk: Desk, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "image").touch()
    image = image_of(tmp_path / "image", "raw", properties={"hw_qemu_guest_agent": "yes"})
    desk.carry_out(BuildGuest(guest=guest(image=image)), "boot:0")
    path = tmp_path / "agent.sock"
    papers = PapersFolder(tmp_path / "papers")
    agent = Agent("a", desk.hypervisor, "fake", desk.executor, desk.journal, tmp_path / "cloud", papers, FreightDesk())
    server = open_unix(agent, path, None)
    yield path
    server.shutdown()
    server.server_close()


def post(agent: Path, path: str, body: bytes, cloud: str = "cloud-1") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("agent")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(agent))
    connection.request("POST", path, body, {CLOUD_HEADER: cloud})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


def password(**changes: object) -> bytes:
    return json.dumps({"host": "fake-1", "server_id": SERVER, "user": "root", "password": SECRET} | changes).encode()


def test_a_password_is_passed_on_and_told_nobody(
    agent: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    given: list[tuple[str, ...]] = []
    inner = desk.hypervisor.set_password
    monkeypatch.setattr(desk.hypervisor, "set_password", lambda *told: (given.append(told), inner(*told)))
    assert post(agent, "/password", password()) == (200, {})
    assert given == [("fake-1", SERVER, "root", SECRET)]
    answers = [
        post(agent, "/password", password(server_id="other")),
        post(agent, "/password", password(user=3)),
        post(agent, "/password", password(user=None, password={SECRET: 1})),
        post(agent, "/password", password()[:-1]),
        post(agent, "/password", password(), cloud="cloud-2"),
    ]
    assert [(status, body["code"]) for status, body in answers] == [
        (409, "no-such-guest"),
        *[(400, "invalid")] * 3,
        (409, "other-cloud"),
    ]
    monkeypatch.setattr(desk.hypervisor, "set_password", lambda *told: 1 / 0)
    assert post(agent, "/password", password())[0] == 500
    assert "hit a defect" in caplog.text, "what is logged is looked at"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET not in caplog.text + str(answers) and SECRET.encode() not in kept


def test_what_is_not_served_is_not_found(agent: Path) -> None:
    assert post(agent, "/passwords", b"{}")[0] == 404


def test_a_live_migration_is_forced(agent: Path, desk: Desk) -> None:
    forced = {"host": "fake-1", "server_id": SERVER, "incarnation": 3}
    assert post(agent, "/force-migration", json.dumps(forced).encode()) == (200, {})
    assert desk.hypervisor._forced == {("fake-1", SERVER, 3)}, "of one that is to begin"
    assert post(agent, "/force-migration", b"{}")[0] == 400
