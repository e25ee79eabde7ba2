"""The image cache: what it refuses, and that work is done once."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from pileus.agent import imagefile, images, qemuimg
from pileus.agent.account import Account
from pileus.agent.commands import ImageSource
from pileus.agent.daemons import run
from pileus.agent.errors import CommandFailed
from pileus.agent.imagefile import Workshop, opened_file
from pileus.agent.images import CacheLimits, ImageCache
from pileus.agent.timeline import Timeline
from tests.unit.agent.specs import image_of

SIZE = 4 << 20
LIMITS = qemuimg.Limits(cpu_s=5, timeout_s=5, file_bytes=1 << 20)


def qemu_img(*argv: str) -> None:
    subprocess.run(["qemu-img", *argv], check=True, capture_output=True)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "plain.img"
    path.write_bytes(b"boot".ljust(2 << 20, b"x") + bytes(2 << 20))
    return path


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return ImageCache(tmp_path / "images", in_use=set)


def refused(cache: ImageCache, image: ImageSource, tmp_path: Path, code: str = "image-invalid") -> str:
    with pytest.raises(CommandFailed) as failure:
        cache.base(image, Timeline())
    assert failure.value.code == code
    assert list((tmp_path / "images").iterdir()) == [], "a failure leaves nothing"
    assert str(tmp_path) not in failure.value.message
    return failure.value.message


@pytest.mark.parametrize("disk_format", ["qcow2", "vmdk", "vdi", "vhdx", "vhd"])
def test_converts_to_raw(cache: ImageCache, raw: Path, tmp_path: Path, disk_format: str) -> None:
    image = tmp_path / f"image.{disk_format}"
    options = ["-o", "subformat=streamOptimized"] if disk_format == "vmdk" else []
    driver = "vpc" if disk_format == "vhd" else disk_format
    if driver == "vpc":
        options = ["-o", "force_size=on"]
    qemu_img("convert", "-f", "raw", "-O", driver, *options, str(raw), str(image))
    base = cache.base(image_of(image, disk_format), Timeline())
    assert base.read_bytes()[:SIZE] == raw.read_bytes()
    assert base.stat().st_mode & 0o777 == 0o440


def test_raw_is_copied_sparse(cache: ImageCache, raw: Path) -> None:
    base = cache.base(image_of(raw, "raw"), Timeline())
    assert base.read_bytes() == raw.read_bytes()
    assert base.stat().st_blocks * 512 < SIZE
    assert base.stat().st_ino != raw.stat().st_ino


def test_partitioned_raw_is_raw(cache: ImageCache, raw: Path) -> None:
    content = bytearray(raw.read_bytes())
    content[446:462] = bytes.fromhex("80000101830000000008000000100000")
    content[510:512] = b"\x55\xaa"
    raw.write_bytes(content)
    assert cache.base(image_of(raw, "raw"), Timeline()).stat().st_size == SIZE


def test_iso(cache: ImageCache, tmp_path: Path) -> None:
    from pileus.agent import configdrive

    path = tmp_path / "cd.iso"
    configdrive.write(path, {"a": b"b" * 40000})
    assert cache.base(image_of(path, "iso"), Timeline()).read_bytes() == path.read_bytes()


def test_events_and_cache(cache: ImageCache, raw: Path) -> None:
    image, first, second = image_of(raw, "raw"), Timeline(), Timeline()
    base = cache.base(image, first)
    assert cache.base(image, second) == base
    assert [event.name for event in first.events()] == ["fetch image", "inspect and convert image"]
    assert [(event.name, event.detail["cached"]) for event in second.events()] == [("fetch image", True)]


def test_refuses_backing_file(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", str(raw), str(overlay))
    assert "backing_file" in refused(cache, image_of(overlay, "qcow2"), tmp_path)


def test_refuses_data_file(cache: ImageCache, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", str(image), "1M")
    assert "data_file" in refused(cache, image_of(image, "qcow2"), tmp_path)


def test_refuses_raw_that_is_qcow2(cache: ImageCache, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    qemu_img("create", "-f", "qcow2", str(image), "1M")
    assert "content is qcow2" in refused(cache, image_of(image, "raw"), tmp_path)


def test_refuses_qcow2_that_is_raw(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    assert "content is raw" in refused(cache, image_of(raw, "qcow2"), tmp_path)


def test_refuses_flat_vmdk(cache: ImageCache, tmp_path: Path) -> None:
    image = tmp_path / "image.vmdk"
    image.write_text('# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/shadow" 0\n')
    refused(cache, image_of(image, "vmdk"), tmp_path)


def test_refuses_damaged_qcow2(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    content = bytearray(image.read_bytes())
    content[40:48] = (0x1FF).to_bytes(8, "big")  # where the L1 table is: unaligned
    image.write_bytes(content)
    assert "cannot be converted" in refused(cache, image_of(image, "qcow2"), tmp_path)


def test_refuses_wrong_hash(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    refused(cache, image_of(raw, "raw", sha512="0" * 128), tmp_path)


@pytest.mark.parametrize("sha512", ["", "../../etc/passwd", "0" * 127 + "/"])
def test_refuses_hash_that_is_none(cache: ImageCache, raw: Path, tmp_path: Path, sha512: str) -> None:
    refused(cache, image_of(raw, "raw", sha512=sha512), tmp_path)


def test_refuses_unknown_format(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    refused(cache, image_of(raw, "ploop"), tmp_path)


@pytest.mark.parametrize("location", ["http://example.org/x", "file://host/x", "file:///no/such/file", "x"])
def test_refuses_location(cache: ImageCache, raw: Path, tmp_path: Path, location: str) -> None:
    refused(cache, image_of(raw, "raw", location=location), tmp_path, "image-missing")


def test_refuses_device(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    refused(cache, image_of(raw, "raw", location="file:///dev/zero"), tmp_path)


def test_leftovers_are_removed_at_start(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    base = cache.base(image_of(raw, "raw"), Timeline())
    (tmp_path / "images" / "half.new").write_text("")
    ImageCache(tmp_path / "images")
    assert list((tmp_path / "images").iterdir()) == [base]


def test_single_flight(cache: ImageCache, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many threads one makes the base; the others wait and say that they shared it."""
    flight = Flight(cache, image_of(raw, "raw"), monkeypatch)
    flight.finish()
    assert len(flight.calls) == 1
    shared = [timeline.events()[0].detail["shared"] for timeline in flight.timelines]
    assert sorted(shared) == [False] + [True] * 7
    assert flight.failures == []


def test_taken_back_flight_is_taken_over(
    cache: ImageCache, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest for which an image is fetched is deleted: the others do not fail with it."""
    flight = Flight(cache, image_of(raw, "raw"), monkeypatch)
    flight.calls[0].abandon()
    flight.finish()
    assert [failure.code for failure in flight.failures] == ["abandoned"]
    assert cache.base(image_of(raw, "raw"), Timeline()).exists()


class Flight:
    """Eight threads that want one image at once; the first that makes it is held until `finish`."""

    def __init__(
        self, cache: ImageCache, image: ImageSource, monkeypatch: pytest.MonkeyPatch, smallest: int | None = None
    ) -> None:
        self.calls: list[Timeline] = []
        self.timelines = [Timeline() for _ in range(8)]
        self.failures: list[CommandFailed] = []
        self._release, begun, build = threading.Event(), threading.Event(), imagefile.build
        waiting = threading.Semaphore(0)
        await_other = images._await_other

        def held(image: ImageSource, target: Path, timeline: Timeline, shop: Workshop) -> None:
            self.calls.append(timeline)
            begun.set()
            self._release.wait(60)
            build(image, target, timeline, shop)

        def counted(*args: object) -> bool:
            waiting.release()
            return await_other(*args)  # type: ignore[arg-type]

        def ask(timeline: Timeline) -> None:
            try:
                cache.base(image, timeline, smallest if timeline is self.timelines[0] else None)
            except CommandFailed as failure:
                self.failures.append(failure)

        monkeypatch.setattr(imagefile, "build", held)
        monkeypatch.setattr(images, "_await_other", counted)
        self._threads = [threading.Thread(target=ask, args=(timeline,)) for timeline in self.timelines]
        self._threads[0].start()
        assert begun.wait(60)
        for thread in self._threads[1:]:
            thread.start()
        assert begun.wait(60)
        for _ in range(7):
            assert waiting.acquire(timeout=60)

    def finish(self) -> None:
        self._release.set()
        for thread in self._threads:
            thread.join(60)


def aged(base: Path) -> Path:
    """A base that nobody asked for in eight days."""
    os.utime(base, (time.time() - 8 * 86400,) * 2)
    return base


def test_purge_removes_what_no_guest_uses(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(bytes(1 << 20))
    used, unused = (aged(cache.base(image_of(path, "raw"), Timeline())) for path in (raw, other))
    cache._in_use = lambda: {used.name}
    assert cache.purge() == [unused.name]
    assert used.exists() and not unused.exists()
    assert cache.base(image_of(other, "raw"), Timeline()) == unused, "and it is made again where it is wanted again"


def test_purge_keeps_a_base_that_was_just_handed_out(cache: ImageCache, raw: Path) -> None:
    image = image_of(raw, "raw")
    base = aged(cache.base(image, Timeline()))
    assert cache.base(image, Timeline()) == base, "its overlay may be being made, and nobody can know"
    assert cache.purge() == [] and base.exists()


def test_purge_touches_nothing_but_bases(cache: ImageCache, tmp_path: Path) -> None:
    for name in ("notes.txt", f"{'a' * 128}.new", f"{'b' * 127}.raw"):
        aged_file = tmp_path / "images" / name
        aged_file.touch()
        aged(aged_file)
    assert cache.purge() == []
    assert len(list((tmp_path / "images").iterdir())) == 3


def test_purge_removes_nothing_while_it_is_not_known_what_is_used(cache: ImageCache, raw: Path) -> None:
    base = aged(cache.base(image_of(raw, "raw"), Timeline()))
    cache._in_use = lambda: None
    assert cache.purge() == [] and base.exists()


def three(cache: ImageCache, tmp_path: Path) -> list[Path]:
    """Bases of 1 MiB each, the oldest first, none of which was asked for lately."""
    bases = []
    for number in range(3):
        path = tmp_path / f"{number}.img"
        path.write_bytes(bytes([number + 1]) * (1 << 20))
        base = cache.base(image_of(path, "raw"), Timeline())
        os.utime(base, (time.time() - 86400 + number,) * 2)
        bases.append(base)
    return bases


def test_purge_keeps_the_cache_small(tmp_path: Path) -> None:
    """The oldest go first; what a guest uses stays, and counts."""
    cache = ImageCache(tmp_path / "images", limits=CacheLimits(most_bytes=2 << 20))
    bases = three(cache, tmp_path)
    cache._in_use = lambda: {bases[0].name}
    assert cache.purge() == [bases[1].name]
    assert cache.purge() == []


def test_room_is_made_for_a_new_image(tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gets full is emptied of what nobody uses, and of no more of it than is needed."""
    cache = ImageCache(tmp_path / "images", limits=CacheLimits(reserve_bytes=3 << 20))
    bases = three(cache, tmp_path)
    cache._in_use = lambda: {bases[0].name}
    kept = sorted(path.name for path in bases)

    def free(self: ImageCache) -> int:
        return (8 << 20) - (1 << 20) * sum(1 for _ in self._bases())

    monkeypatch.setattr(ImageCache, "_free", free)
    cache.make_room(3 << 20)
    assert sorted(path.name for path in bases if path.exists()) == sorted(set(kept) - {bases[1].name})
    with pytest.raises(CommandFailed, match="no room"):
        cache.base(image_of(raw, "raw", size_bytes=64 << 20), Timeline())
    assert [path for path in bases if path.exists()] == [bases[0]]


@pytest.mark.parametrize("disk_format", ["raw", "qcow2"])
def test_too_large_for_the_flavor_is_not_opened(
    cache: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk_format: str
) -> None:
    """What an image declares is enough to refuse it; it was once converted first."""
    image = tmp_path / f"image.{disk_format}"
    qemu_img("create", "-f", disk_format, str(image), "3G" if disk_format == "qcow2" else "3M")
    monkeypatch.setattr("pileus.agent.qemuimg.convert", lambda *_a, **_k: pytest.fail("it was opened"))
    with pytest.raises(CommandFailed) as failure:
        cache.base(image_of(image, disk_format), Timeline(), 2 << 30 if disk_format == "qcow2" else 1 << 20)
    assert failure.value.code == "flavor-disk-too-small"
    assert list((tmp_path / "images").iterdir()) == []


def test_another_flavor_may_be_large_enough(cache: ImageCache, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for one whose flavor is too small does not fail with it."""
    flight = Flight(cache, image_of(raw, "raw"), monkeypatch, smallest=1)
    flight.finish()
    assert [failure.code for failure in flight.failures] == ["flavor-disk-too-small"]
    assert cache.base(image_of(raw, "raw"), Timeline()).exists()


def test_more_than_the_image_says_is_not_fetched(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    image = image_of(raw, "raw", size_bytes=1 << 20)
    with open(raw, "ab") as growing:
        growing.truncate(1 << 40)
    refused(cache, image, tmp_path)


def test_a_link_is_not_followed(cache: ImageCache, raw: Path, tmp_path: Path) -> None:
    """The folder of images is a less trusted user's, who could otherwise have any file of the host read."""
    link = tmp_path / "link.img"
    link.symlink_to(raw)
    refused(cache, image_of(raw, "raw", location=f"file://{link}"), tmp_path, "image-missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_converts_is_nobody(tmp_path: Path, raw: Path) -> None:
    """The tool that reads a tenant's image has no rights, no network, limits, and may enter no folder of ours."""
    account = Account.of("nobody")
    assert account is not None
    said = run(
        *qemuimg._limited(LIMITS), *account.command, "cat", "/proc/self/status", "/proc/self/limits", "/proc/net/dev"
    )
    for line in ("Uid:\t65534\t65534", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Groups:\t \n"):
        assert line in said
    assert re.search(r"Max file size +1048576 ", said) and re.search(r"Max address space +1073741824 ", said)
    assert "eth" not in said
    image = tmp_path / "image.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    base = ImageCache(tmp_path / "images", account).base(image_of(image, "qcow2"), Timeline())
    assert base.read_bytes() == raw.read_bytes()
    assert (base.stat().st_uid, base.stat().st_gid, base.stat().st_mode & 0o777) == (0, account.gid, 0o440)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_is_ended_ends_with_all_it_started(tmp_path: Path) -> None:
    account = Account.of("nobody")
    assert account is not None
    seconds = f"61.{os.getpid()}"
    with pytest.raises(CommandFailed, match="did not end"):
        run(*account.command, "sh", "-c", f"sleep {seconds} & sleep {seconds}", timeout_s=0.5)
    deadline = time.monotonic() + 10
    while subprocess.run(["pgrep", "-f", f"^sleep {seconds}"], check=False, capture_output=True).stdout:
        assert time.monotonic() < deadline, "it lives"


def test_images_come_from_the_store_alone(tmp_path: Path, raw: Path) -> None:
    """Who commands a host may not have it read any other file, by a path or by a link."""
    store = tmp_path / "store"
    store.mkdir()
    cache = ImageCache(tmp_path / "images", opened=partial(opened_file, store=store))
    (store / "within").write_bytes(raw.read_bytes())
    (tmp_path / "by-link").symlink_to(store)
    for location in (raw, store / ".." / raw.name, tmp_path / "by-link" / "within", store):
        refused(cache, image_of(raw, "raw", location=f"file://{location}"), tmp_path, "image-missing")
    assert cache.base(image_of(store / "within", "raw"), Timeline()).exists()
    moved = tmp_path / "moved"
    store.rename(moved)
    store.symlink_to(moved)
    (tmp_path / "images" / f"{image_of(raw, 'raw').sha512}.raw").unlink()
    refused(cache, image_of(raw, "raw", location=f"file://{store}/within"), tmp_path, "image-missing")
