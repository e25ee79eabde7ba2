"""Which image data an agent elsewhere may have, and which it may bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.agent.commands import Envelope, SnapshotGuest
from pileus.compute.migration_model import DONE, PRE_MIGRATING, PREPARING, Migration
from pileus.compute.model import Server
from pileus.db import Session, new_id, utcnow
from pileus.image import store
from pileus.operations.post import Post
from pileus.settings import Settings
from pileus.stock import Stock
from tests.unit.compute.world import World, host_report


def test_an_agent_gets_the_images_of_servers_on_its_own_hosts(world: World, tmp_path: Path) -> None:
    world.report(host_report("h1"))
    [server] = world.servers(1, image_id="image-1")
    settings = Settings(state=str(tmp_path))
    settings.images.mkdir(parents=True)
    stock = Stock(world.db, settings, Post())
    for name in ("image-1", "image-2"):
        (settings.images / name).write_bytes(b"data")

    def given(image_id: str, host: str) -> Path | None:
        return stock.data(image_id, lambda name: name == host)

    assert given("image-1", "h1") is None, "the server is on no host yet"
    assert world.place(server) == ["h1"]
    assert given("image-1", "h1") == settings.images / "image-1"
    assert given("image-1", "h2") is None and given("image-2", "h1") is None
    assert given("../image-1", "h1") is None
    (settings.images / "image-1").unlink()
    assert given("image-1", "h1") is None, "another replica may have it"


def test_an_agent_gets_the_image_that_a_shelved_server_comes_back_from(world: World, tmp_path: Path) -> None:
    settings = Settings(state=str(tmp_path))
    settings.images.mkdir(parents=True)
    (settings.images / "shelved").write_bytes(b"data")
    stock = Stock(world.db, settings, Post())
    world.report(host_report("h1"))
    [server] = world.servers(1, image_id="image-1", shelved_image_id="shelved")
    assert stock.data("shelved", lambda name: name == "h1") is None, "it is on no host"
    assert world.place(server) == ["h1"]
    assert stock.data("shelved", lambda name: name == "h1") is not None
    assert stock.data("shelved", lambda name: name == "h2") is None


@pytest.mark.parametrize("status", [PREPARING, PRE_MIGRATING], ids=["live migration", "evacuation"])
def test_an_agent_gets_the_image_of_a_server_that_is_to_move_to_its_host(
    world: World, tmp_path: Path, status: str
) -> None:
    """Before the server is there: it needs the image to go there at all."""
    settings = Settings(state=str(tmp_path))
    settings.images.mkdir(parents=True)
    (settings.images / "image-1").write_bytes(b"data")
    stock = Stock(world.db, settings, Post())
    world.report(host_report("h1"), host_report("h2"))
    [moving] = world.servers(1, image_id="image-1", host="h1")

    def given(host: str) -> bool:
        return stock.data("image-1", lambda name: name == host) is not None

    def move(session: Session) -> int:
        server = session.get_one(Server, moving)
        made = Migration(
            uuid=new_id(), server_id=moving, type="any", status=status, source_host="h1", dest_host="h2",
            old_flavor=server.flavor, new_flavor=server.flavor, old_vm_state="active", user_id="u", project_id="p",
            owner_id="p", created_at=utcnow(),
        )  # fmt: skip
        session.add(made)
        session.flush()
        return made.id

    assert given("h1") and not given("h2")
    number = world.write(move)
    assert given("h1") and given("h2") and not given("h3")
    world.write(lambda session: setattr(session.get_one(Migration, number), "status", DONE))
    assert not given("h2"), "a move that is over brought the server elsewhere, or nowhere"


def test_an_agent_brings_only_what_it_was_told_to_make(world: World, tmp_path: Path) -> None:
    post = Post()
    settings = Settings(state=str(tmp_path), image_size_cap_bytes=5, host_reserve_mib=3)
    stock = Stock(world.db, settings, post)
    assert (stock.cap_bytes, stock.reserve_bytes) == (5, 3 << 20)
    command = SnapshotGuest(server_id="s", image_id="image-1", location="file:///elsewhere/image-1")
    post.send(Envelope(key="o:1", operation_id="o", attempt=1, host="h1", deadline_s=60, command=command))
    part = stock.incoming("image-1", {"h1", "h2"})
    assert part == settings.images / "incoming" / "image-1.arriving"
    assert stock.incoming("image-1", {"h2"}) is None and stock.incoming("image-2", {"h1"}) is None
    assert part is not None
    part.parent.mkdir(parents=True)
    part.write_bytes(b"data")
    stock.arrived(part, "its hash")
    whole = part.with_suffix("")
    assert whole.read_bytes() == b"data" and store.note_of(whole).read_text() == "its hash" and not part.exists()
    post.withdraw("o:1")
    assert stock.incoming("image-1", {"h1"}) is None
