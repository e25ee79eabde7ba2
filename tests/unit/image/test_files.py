"""Image data: upload, inspection, download, and what a crash leaves."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pileus.errors import Conflict
from pileus.image import snapshots, store
from pileus.image.model import Image
from tests.client import Client
from tests.unit.image.conftest import make, put
from tests.unit.serving import Serving


def files(serving: Serving) -> list[str]:
    directory = serving.settings.images
    return sorted(one for one in os.listdir(directory) if one != "incoming") if directory.exists() else []


def qemu_img(path: Path, *arguments: str, format: str = "qcow2") -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", format, *arguments[:-1], path, arguments[-1]], check=True)
    return path.read_bytes()


def test_upload_and_download(serving: Serving, demo: Client) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    image = make(demo, data)
    assert image["status"] == "active"
    assert image["size"] == image["virtual_size"] == len(data)
    assert image["checksum"] == hashlib.md5(data).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    file = serving.settings.images / image["id"]
    assert files(serving) == [image["id"]]
    assert file.stat().st_mode & 0o777 == 0o640
    got = demo("GET", f"/images/{image['id']}/file")
    assert got.content == data
    assert got.headers["Content-MD5"] == image["checksum"]
    assert got.headers["Content-Length"] == str(len(data))
    assert got.headers["Content-Type"] == "application/octet-stream"
    assert put(demo, image["id"], data).status_code == 409
    assert demo("DELETE", f"/images/{image['id']}").status_code == 204
    assert files(serving) == []


@pytest.mark.parametrize(
    ("wanted", "status", "first", "length"),
    [
        ("bytes=0-9", 206, 0, 10), ("bytes=990-", 206, 990, 10), ("bytes=-5", 206, 995, 5),
        ("bytes=990-5000", 206, 990, 10), ("bytes=1000-", 416, 0, 0), ("bytes=x", 400, 0, 0),
    ],
)  # fmt: skip
def test_range(demo: Client, wanted: str, status: int, first: int, length: int) -> None:
    data = os.urandom(1000)
    image = make(demo, data)
    got = demo("GET", f"/images/{image['id']}/file", headers={"Range": wanted})
    assert got.status_code == status
    if status == 206:
        assert got.content == data[first : first + length]
        assert got.headers["Content-Range"] == f"bytes {first}-{first + length - 1}/1000"


def test_no_data(demo: Client) -> None:
    image = make(demo)
    got = demo("GET", f"/images/{image['id']}/file")
    assert (got.status_code, got.content) == (204, b"")


def test_upload_refused(serving: Serving, demo: Client, alt: Client) -> None:
    image = make(demo, visibility="private")
    assert put(alt, image["id"], b"x").status_code == 404
    typed = demo("PUT", f"/images/{image['id']}/file", body=b"{}", headers={"Content-Type": "application/json"})
    assert typed.status_code == 415
    assert put(demo, image["id"], b"x" * (8 * 1024 * 1024 + 1)).status_code == 413
    unready = demo("POST", "/images", json={"name": "no format"}).json
    answer = put(demo, unready["id"], b"x")
    assert answer.status_code == 400
    assert "disk_format, container_format" in answer.json["message"]
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert files(serving) == []


def test_client_goes_away(serving: Serving, demo: Client) -> None:
    image = make(demo)
    assert put(demo, image["id"], b"x" * 100, **{"Content-Length": "1000"}).status_code == 400
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert files(serving) == []
    assert put(demo, image["id"], b"x" * 100).status_code == 204


@pytest.mark.parametrize(
    "error",
    [OSError("reset"), OSError(104, "reset"), ValueError("chunk"), EOFError(), RuntimeError("any"), StopIteration()],
)
def test_body_that_cannot_be_read(
    serving: Serving, demo: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """However a server says that a chunked body broke off, what arrived is no image."""

    class Broken:
        def __init__(self, *_: object) -> None:
            self._pieces = [b"x" * 100, b"x" * 100]

        def read(self, _size: int) -> bytes:
            if not self._pieces:
                raise error
            return self._pieces.pop()

    image = make(demo)
    monkeypatch.setattr("pileus.image.routes.files._body", lambda _request: (Broken(), None))
    answer = put(demo, image["id"], b"")
    assert answer.status_code == 400 and "after 200 bytes" in answer.json["message"]
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert files(serving) == []
    monkeypatch.undo()
    assert put(demo, image["id"], b"x" * 100).status_code == 204


@pytest.mark.parametrize("announced", ["99", "101", "many", "9" * 5000, "-100", "\u00b2"])
def test_announced_size(demo: Client, announced: str) -> None:
    image = make(demo)
    assert put(demo, image["id"], b"x" * 100, **{"X-OpenStack-Image-Size": announced}).status_code == 400
    assert put(demo, image["id"], b"x" * 100, **{"X-OpenStack-Image-Size": "100"}).status_code == 204


def test_deleted_while_uploading(serving: Serving, demo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(demo)
    receive = store.receive

    def slow(*arguments: object) -> store.Received:
        received = receive(*arguments)  # type: ignore[arg-type]
        assert put(demo, image["id"], b"other").status_code == 409
        assert demo("GET", f"/images/{image['id']}").json["status"] == "saving"
        assert demo("DELETE", f"/images/{image['id']}").status_code == 204
        return received

    monkeypatch.setattr(store, "receive", slow)
    assert put(demo, image["id"], b"0" * 1000).status_code == 404
    assert files(serving) == []


def test_crash_while_uploading(serving: Serving, demo: Client) -> None:
    whole, broken, alive = make(demo, b"0" * 512), make(demo), make(demo)
    directory = serving.settings.images
    with serving.db.write() as session:
        for image_id, upload in ((broken["id"], "dead"), (alive["id"], "alive")):
            row = session.get_one(Image, image_id)
            row.status, row.upload = "saving", upload
    (directory / f"{broken['id']}.dead.part").write_bytes(b"half")
    (directory / broken["id"]).write_bytes(b"published, not committed")
    with store.incoming(directory, alive["id"], "alive"), serving.db.write() as session:
        store.recover(session, directory)
        session.commit()
        assert demo("GET", f"/images/{alive['id']}").json["status"] == "saving"
    assert files(serving) == [whole["id"]]
    assert demo("GET", f"/images/{broken['id']}").json["status"] == "queued"


def test_what_nobody_will_ask_for_is_swept_up(serving: Serving, demo: Client) -> None:
    whole, awaited, uploading = make(demo, b"0" * 512), make(demo), make(demo)
    directory = serving.settings.images
    brought = store.incoming_directory(directory)
    brought.mkdir(exist_ok=True)
    with serving.db.write() as session:
        snapshots.begin(session, awaited["id"])
    for image_id in (awaited["id"], whole["id"], "never-heard-of"):
        (brought / image_id).write_bytes(b"brought")
    (directory / "deleted").write_bytes(b"0")
    with store.incoming(directory, uploading["id"], "alive") as (part, _), serving.db.read() as session:
        store.sweep(session, directory)
        assert files(serving) == sorted([whole["id"], part.name])
    assert [one.name for one in brought.iterdir()] == [awaited["id"]]


DATA = b"0" * 512
MADE: dict[str, Any] = {
    "size": 512,
    "virtual_size": 1024,
    "checksum": hashlib.md5(DATA).hexdigest(),
    "sha512": hashlib.sha512(DATA).hexdigest(),
}


@pytest.mark.parametrize(
    "lie",
    [{"size": 511}, {"size": "512x"}, {"virtual_size": -(2**62)}, {"virtual_size": 2**63}, {"checksum": "x" * 5000},
     {"sha512": "\x1b[2J"}, {"sha512": "0" * 128}, {}],
    ids=str,
)  # fmt: skip
def test_a_host_may_not_say_anything_of_an_image(serving: Serving, demo: Client, lie: dict[str, Any]) -> None:
    """Not of data that came from elsewhere, of which the hash is known here."""
    image_id = make(demo)["id"]
    url = snapshots.location(serving.settings, image_id)
    brought = store.incoming_directory(serving.settings.images)
    brought.mkdir(exist_ok=True, parents=True)
    part = brought / f"{image_id}{store.ARRIVING}"
    part.write_bytes(DATA)
    store.arrived(part, MADE["sha512"])
    with serving.db.write() as session:
        snapshots.begin(session, image_id)
    with serving.db.read() as session:
        store.sweep(session, serving.settings.images)
    if not lie:
        with serving.db.write() as session:
            snapshots.publish(session, image_id, url, MADE)
        image = demo("GET", f"/images/{image_id}").json
        assert (image["status"], image["size"], image["virtual_size"]) == ("active", 512, 1024)
        assert (image["checksum"], image["os_hash_value"]) == (MADE["checksum"], MADE["sha512"])
    else:
        with pytest.raises(Conflict), serving.db.write() as session:
            snapshots.publish(session, image_id, url, MADE | lie)
        with serving.db.write() as session:
            snapshots.drop(session, image_id, url)
    assert list(brought.iterdir()) == []


def test_an_image_that_never_came_leaves_nothing(serving: Serving, demo: Client) -> None:
    """Its data may have been published, by a transaction that was not committed."""
    image_id = make(demo)["id"]
    url = snapshots.location(serving.settings, image_id)
    part = store.incoming_directory(serving.settings.images) / image_id
    part.parent.mkdir(exist_ok=True, parents=True)
    part.write_bytes(b"0" * 512)
    with serving.db.write() as session:
        snapshots.begin(session, image_id)
    with pytest.raises(ZeroDivisionError), serving.db.write() as session:
        snapshots.publish(session, image_id, url, MADE)
        raise ZeroDivisionError
    assert files(serving) == [image_id]
    for _ in range(2):
        with serving.db.write() as session:
            snapshots.drop(session, image_id, url)
    assert files(serving) == [] and not part.exists()
    assert demo("GET", f"/images/{image_id}").status_code == 404


def test_formats(demo: Client, tmp_path: Path) -> None:
    for format in ("qcow2", "vmdk", "vdi", "vhdx"):
        data = qemu_img(tmp_path / f"disk.{format}", "16M", format=format)
        image = make(demo, data, disk_format=format)
        assert (image["status"], image["virtual_size"]) == ("active", 16 * 1024 * 1024), format


@pytest.mark.parametrize(("said", "word"), [("raw", "qcow2"), ("iso", "qcow2"), ("vmdk", "qcow2")])
def test_lying_format(serving: Serving, demo: Client, tmp_path: Path, said: str, word: str) -> None:
    image = make(demo, disk_format=said)
    answer = put(demo, image["id"], qemu_img(tmp_path / "disk", "1M"))
    assert answer.status_code == 415
    assert f"disk_format is {said}" in answer.json["message"]
    assert word in answer.json["message"]
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert files(serving) == []


def test_raw_is_not_qcow2(demo: Client) -> None:
    assert put(demo, make(demo, disk_format="qcow2")["id"], b"\0" * 4096).status_code == 415


def test_partition_table_is_raw(demo: Client) -> None:
    disk = bytearray(64 * 1024)
    disk[510:512] = b"\x55\xaa"
    disk[446:462] = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 100)
    assert make(demo, bytes(disk))["status"] == "active"


def test_an_archive_is_no_disk(demo: Client) -> None:
    image = make(demo, b"tar", container_format="ova", disk_format="vmdk")
    assert (image["status"], image["virtual_size"]) == ("active", None)


@pytest.mark.parametrize("container", ["bare", "ovf", "ova", "ami", "ari", "aki", "docker", "compressed"])
def test_every_container_is_inspected(serving: Serving, demo: Client, tmp_path: Path, container: str) -> None:
    """With another container than bare, a body was once taken as it came."""
    qemu_img(tmp_path / "base", "1M")
    data = qemu_img(tmp_path / "overlay", "-b", str(tmp_path / "base"), "-F", "qcow2", "1M")
    for disk_format in ("qcow2", "raw"):
        image = make(demo, container_format=container, disk_format=disk_format)
        assert put(demo, image["id"], data).status_code == 415
    assert files(serving) == []


@pytest.mark.parametrize("size", [1 << 62, (1 << 64) - 512])
def test_declared_disk_is_too_large(serving: Serving, demo: Client, tmp_path: Path, size: int) -> None:
    """A header of a few bytes may declare any size; the largest do not even fit into a database."""
    data = bytearray(qemu_img(tmp_path / "disk", "1M"))
    data[24:32] = struct.pack(">Q", size)
    image = make(demo, disk_format="qcow2")
    answer = put(demo, image["id"], bytes(data))
    assert answer.status_code == 413 and str(size) in answer.json["message"]
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert files(serving) == []


def test_backing_file_is_refused(serving: Serving, demo: Client, tmp_path: Path) -> None:
    qemu_img(tmp_path / "base", "1M")
    data = qemu_img(tmp_path / "overlay", "-b", str(tmp_path / "base"), "-F", "qcow2", "1M")
    answer = put(demo, make(demo, disk_format="qcow2")["id"], data)
    assert answer.status_code == 415
    assert "backing_file" in answer.json["message"]
    assert files(serving) == []


def test_data_file_is_refused(demo: Client, tmp_path: Path) -> None:
    data = qemu_img(tmp_path / "disk", "-o", f"data_file={tmp_path}/data,data_file_raw=on", "1M")
    answer = put(demo, make(demo, disk_format="qcow2")["id"], data)
    assert answer.status_code == 415
    assert "data_file" in answer.json["message"]


def test_unsafe_vmdk_is_refused(demo: Client, tmp_path: Path) -> None:
    data = qemu_img(tmp_path / "disk", "1M", format="vmdk")
    unsafe = data.replace(b'createType="monolithicSparse"', b'createType="monolithicFlat"  ')
    assert unsafe != data
    assert put(demo, make(demo, disk_format="vmdk")["id"], unsafe).status_code == 415


def test_location(serving: Serving) -> None:
    from pileus.image import images

    assert images.location(serving.settings, Image(id="x")) == f"file://{serving.settings.images}/x"


def test_uploads_leave_the_disk_its_reserve(serving: Serving, demo: Client) -> None:
    """The database may be on it."""
    image = make(demo)
    disk = os.statvfs(serving.settings.directory)
    serving.settings.host_reserve_mib = disk.f_bavail * disk.f_frsize // 2**20 + 1024
    assert put(demo, image["id"], b"x" * 100).status_code == 413
    assert demo("GET", f"/images/{image['id']}").json["status"] == "queued"
    assert files(serving) == []


def test_an_image_folder_is_told_from_others(serving: Serving, demo: Client) -> None:
    """Wherever it is mounted; what cleans it up leaves that alone."""
    directory = serving.settings.images
    known = store.identify(directory)
    with serving.db.write() as session:
        store.recover(session, directory)
    with serving.db.read() as session:
        store.sweep(session, directory)
    assert store.identify(directory) == known != store.identify(directory.with_name("others"))
    assert make(demo, b"data")["status"] == "active"
