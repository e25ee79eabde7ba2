"""Agents that hang, drip, lie or talk without end: they cost the others nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest

from pileus.agent.commands import (
    AgentReport,
    CertificateRequest,
    FeedEntry,
    Greeting,
    GuestEvent,
    HostReport,
)
from pileus.operations import agents as link_module
from pileus.operations import wires
from pileus.operations.post import Refused
from pileus.operations.wires import Way, Wire
from tests.members import Cloud
from tests.unit.operations.machine import CLOUD, Desk, liar


@pytest.mark.parametrize(("path", "most"), [("/other?x=1", 1 << 16), ("/piece?x=1", 1 << 22), ("/feed", 1 << 24)])
def test_no_more_is_read_than_an_answer_may_have(tmp_path: Path, path: str, most: int) -> None:
    sizes = iter((most, most + 1))

    async def exchange(way: Way) -> None:
        wire = Wire(way, CLOUD)
        try:
            await wire.open()
            assert len(await wire.exchange("GET", path)) == most
            with pytest.raises(Refused, match="longer than"):
                await wire.exchange("GET", path)
        finally:
            wire.close()

    with liar(tmp_path / "s", lambda path: [bytes(next(sizes))]) as way:
        asyncio.run(exchange(way))


def _greeting(host: str) -> bytes:
    spoken_for = HostReport(
        name=host, hypervisor_type="fake", hypervisor_version=1, host_ip="127.0.0.1", inventories={}
    )
    return msgspec.json.encode(Greeting(report=AgentReport(started=1.0, network="fake", hosts=(spoken_for,)), last=0))


def _certificate() -> bytes:
    return msgspec.json.encode(CertificateRequest(request="", ends=9e10))


def test_an_agent_that_does_not_wait_for_news_is_not_asked_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "IDLE_S", 3600.0)
    asked: list[str] = []
    said = {"/report": _greeting("h"), "/certificate": _certificate(), "/feed": b"[]"}

    def answer(path: str) -> list[bytes]:
        asked.append(path)
        return [said[path]]

    with liar(tmp_path / "s", answer) as way:
        desk = Desk(way, Cloud(CLOUD)).start()
        assert desk.ears.lively.get(timeout=60) == ["h"]
        time.sleep(0.3)  # in which it would be asked a hundred times
        assert asked.count("/feed") == 1
        desk.agents.stop()


def test_agents_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose feed is long keeps nobody from being heard."""
    monkeypatch.setattr(link_module, "THREADS", 1)
    monkeypatch.setattr(link_module, "TAKEN", 2)
    long = [
        FeedEntry(sequence=i, guest=GuestEvent(server_id="s", host="h1", power_state=1, at=1.0)) for i in range(999)
    ]
    feeds = {"h1": msgspec.json.encode(long), "h2": b"[]"}
    going, heard_other = threading.Event(), threading.Event()

    def said(host: str, path: str) -> list[bytes]:
        if path == "/feed" and host == "h2":
            going.wait(60)  # the long one has the thread
        return [{"/report": _greeting(host), "/certificate": _certificate(), "/feed": feeds[host]}[path]]

    with liar(tmp_path / "1", partial(said, "h1")) as one, liar(tmp_path / "2", partial(said, "h2")) as other:
        cloud = Cloud(CLOUD)
        cloud.add("other", other)
        desk = Desk(one, cloud)
        events: list[GuestEvent] = []

        def guest(event: GuestEvent) -> None:
            events.append(event)
            going.set()
            heard_other.wait(0.05)

        def alive(hosts: list[str]) -> None:
            if hosts == ["h2"] and going.is_set():
                heard_other.set()

        desk.ears.guest, desk.ears.alive = guest, alive  # type: ignore[assignment]
        desk.start()
        assert heard_other.wait(20) and len(events) < len(long)
        desk.agents.stop()
