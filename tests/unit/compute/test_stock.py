"""Which image data an agent elsewhere may have, and which it may bring."""

from __future__ import annotations

from pathlib import Path

from pileus.agent.commands import Envelope, SnapshotGuest
from pileus.operations.post import Post
from pileus.stock import Stock
from tests.unit.compute.world import World, host_report


def test_an_agent_gets_the_images_of_servers_on_its_own_hosts(world: World, tmp_path: Path) -> None:
    world.report(host_report("h1"))
    [server] = world.servers(1, image_id="image-1")
    stock = Stock(world.db, tmp_path, Post())
    for name in ("image-1", "image-2"):
        (tmp_path / name).write_bytes(b"data")

    def given(image_id: str, host: str) -> Path | None:
        return stock.data(image_id, lambda name: name == host)

    assert given("image-1", "h1") is None, "the server is on no host yet"
    assert world.place(server) == ["h1"]
    assert given("image-1", "h1") == tmp_path / "image-1"
    assert given("image-1", "h2") is None and given("image-2", "h1") is None
    assert given("../image-1", "h1") is None
    (tmp_path / "image-1").unlink()
    assert given("image-1", "h1") is None, "another replica may have it"


def test_an_agent_brings_only_what_it_was_told_to_make(world: World, tmp_path: Path) -> None:
    post = Post()
    stock = Stock(world.db, tmp_path, post)
    command = SnapshotGuest(server_id="s", image_id="image-1", location="file:///elsewhere/image-1")
    post.send(Envelope(key="o:1", operation_id="o", attempt=1, host="h1", deadline_s=60, command=command))
    part = stock.incoming("image-1", {"h1", "h2"})
    assert part == tmp_path / "incoming" / "image-1.arriving"
    assert stock.incoming("image-1", {"h2"}) is None and stock.incoming("image-2", {"h1"}) is None
    post.withdraw("o:1")
    assert stock.incoming("image-1", {"h1"}) is None
