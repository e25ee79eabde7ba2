"""Bases that another host brings: for one guest each, whatever that host says they are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pileus.agent.errors import CommandFailed
from pileus.agent.images import ImageCache
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import image_of


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "images", in_use=set)


def bring(cache: ImageCache, name: str, content: bytes = b"EVIL BOOT SECTOR") -> Path:
    return cache.brought(name, lambda name, into: into.write_bytes(content) and None, Timeline())


def test_no_image_is_made_of_it(cache: ImageCache, tmp_path: Path) -> None:
    """A source says that what it hands over is another tenant's image."""
    (tmp_path / "good.img").write_bytes(b"G" * 512)
    image = image_of(tmp_path / "good.img", "raw")
    brought = bring(cache, cache.name(image))
    base = cache.base(image, Timeline())
    assert base.read_bytes() == b"G" * 512 and base != brought
    assert brought.read_bytes().startswith(b"EVIL") and brought.stat().st_mode & 0o777 == 0o440


def test_nor_is_an_image_or_anothers_given_for_it(cache: ImageCache, tmp_path: Path) -> None:
    (tmp_path / "good.img").write_bytes(b"G" * 512)
    base = cache.base(image_of(tmp_path / "good.img", "raw"), Timeline())
    first = bring(cache, base.name)
    again = bring(cache, first.name, b"of the next")
    assert len({base, first, again}) == 3 and cache.path(again.name) == again
    assert (first.read_bytes(), again.read_bytes()) == (b"EVIL BOOT SECTOR", b"of the next")


def test_what_a_guest_has_is_not_brought_again(cache: ImageCache) -> None:
    image, other = f"{'a' * 128}.raw", f"{'b' * 128}.raw"
    brought = bring(cache, image)
    assert cache.brought_before(image, brought.name) == cache.brought_before(brought.name, brought.name) == brought
    assert cache.brought_before(image, None) is cache.brought_before(other, brought.name) is None
    assert cache.brought_before(image, image) is None, "an image is nobody's own"
    brought.unlink()
    assert cache.brought_before(image, brought.name) is None


def test_one_that_fails_leaves_nothing(cache: ImageCache, tmp_path: Path) -> None:
    """Or the next source's would begin with it."""

    def half(name: str, into: Path) -> None:
        into.write_bytes(b"half")
        raise CommandFailed("peer", "the host does not answer")

    with pytest.raises(CommandFailed, match="does not answer"):
        cache.brought(f"{'a' * 128}.raw", half, Timeline())
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "../x", f"{'a' * 128}.../x.raw", f"{'a' * 128}.raw\n", f"{'a' * 128}.{'b' * 31}.raw"]
)
def test_names_that_are_no_bases(cache: ImageCache, name: str) -> None:
    with pytest.raises(CommandFailed, match="no image"):
        bring(cache, name)


def test_it_goes_when_no_disk_stands_on_it(cache: ImageCache) -> None:
    """Nobody can ask for it again; the image of the same age stays."""
    brought, used = bring(cache, f"{'a' * 128}.raw"), bring(cache, f"{'a' * 128}.raw")
    image = cache.path(f"{'c' * 128}.raw")
    image.write_bytes(b"an image")
    cache._in_use = lambda: {used.name}
    assert cache.purge() == [], "a disk may be about to be made"
    for path in (brought, used, image):
        os.utime(path, (time.time() - 3600,) * 2)
    assert cache.purge() == [brought.name] and used.exists() and image.exists()
