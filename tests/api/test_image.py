"""The image service, through the clients people use."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions
from openstack.connection import Connection

from tests.support import eventually

OpenStack = Callable[..., Any]


@pytest.fixture
def name() -> str:
    return f"image-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def qcow2(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"], check=True)
    return path


@pytest.fixture
def image(demo: Connection, name: str) -> Iterator[Any]:
    """A private image with data."""
    made = demo.image.create_image(
        name=name, disk_format="raw", container_format="bare", visibility="private", data=os.urandom(100_000)
    )
    yield made
    demo.image.delete_image(made, ignore_missing=True)


def queued(connection: Connection, **attributes: Any) -> Any:
    defaults = {"name": "queued", "disk_format": "raw", "container_format": "bare"}
    return connection.image.post("/images", json=defaults | attributes).json()


def put(connection: Connection, image_id: str, data: Any) -> Any:
    headers = {"Content-Type": "application/octet-stream", "Accept": ""}
    return connection.image.put(f"/images/{image_id}/file", data=data, headers=headers)


def test_command_line(openstack: OpenStack, name: str, qcow2: Path, tmp_path: Path) -> None:
    made = openstack(
        "image",
        "create",
        "--file",
        str(qcow2),
        "--disk-format",
        "qcow2",
        "--property",
        "hw_rng_model=virtio",
        name,
    )
    assert made["status"] == "active"
    assert name in [row["Name"] for row in openstack("image", "list")]
    assert openstack("image", "show", name)["virtual_size"] == 16 * 1024 * 1024
    openstack(
        "image",
        "set",
        "--property",
        "hw_disk_bus=virtio",
        "--tag",
        "red",
        "--min-ram",
        "64",
        name,
        parse=False,
    )
    openstack("image", "unset", "--property", "hw_rng_model", name, parse=False)
    shown = openstack("image", "show", name)
    assert (shown["min_ram"], shown["tags"]) == (64, ["red"])
    assert shown["properties"]["hw_disk_bus"] == "virtio"
    assert "hw_rng_model" not in shown["properties"]
    openstack("image", "save", "--file", str(tmp_path / "saved"), name, parse=False)
    assert (tmp_path / "saved").read_bytes() == qcow2.read_bytes()
    openstack("image", "delete", name, parse=False)
    assert name not in [row["Name"] for row in openstack("image", "list")]


def test_hashes_and_download(demo: Connection, image: Any) -> None:
    data = demo.image.download_image(image).content
    shown = demo.image.get_image(image.id)
    assert shown.size == shown.virtual_size == len(data) == 100_000
    assert shown.checksum == hashlib.md5(data).hexdigest()
    assert (shown.hash_algo, shown.hash_value) == ("sha512", hashlib.sha512(data).hexdigest())
    assert demo.image.find_image(image.name).id == image.id


def test_private_is_private(alt: Connection, admin: Connection, image: Any) -> None:
    with pytest.raises(exceptions.NotFoundException):
        alt.image.get_image(image.id)
    assert alt.image.find_image(image.name) is None
    assert admin.image.get_image(image.id).owner_id == image.owner_id


def test_publishing_needs_the_admin(demo: Connection, admin: Connection, alt: Connection, image: Any) -> None:
    with pytest.raises(exceptions.ForbiddenException):
        demo.image.update_image(image.id, visibility="public")
    admin.image.update_image(image.id, visibility="public")
    assert alt.image.find_image(image.name).id == image.id


def test_sharing(demo: Connection, alt: Connection, image: Any) -> None:
    demo.image.update_image(image.id, visibility="shared")
    project = alt.current_project_id
    demo.image.add_member(image.id, member_id=project)
    assert image.id not in [one.id for one in alt.image.images()]
    alt.image.update_member(project, image.id, status="accepted")
    assert image.id in [one.id for one in alt.image.images()]
    assert alt.image.download_image(image).content == demo.image.download_image(image).content
    with pytest.raises(exceptions.ForbiddenException):
        alt.image.delete_image(image.id, ignore_missing=False)
    demo.image.remove_member(project, image.id)
    with pytest.raises(exceptions.NotFoundException):
        alt.image.get_image(image.id)


def test_deactivate_and_protect(demo: Connection, image: Any) -> None:
    demo.image.deactivate_image(image.id)
    assert demo.image.get(f"/images/{image.id}/file").status_code == 403
    demo.image.reactivate_image(image.id)
    demo.image.update_image(image.id, is_protected=True)
    with pytest.raises(exceptions.ForbiddenException):
        demo.image.delete_image(image.id)
    demo.image.update_image(image.id, is_protected=False)


def test_pages(demo: Connection, name: str) -> None:
    made = [queued(demo, name=f"{name}-{n}", tags=[name])["id"] for n in range(5)]
    found = [one.id for one in demo.image.images(tag=name, limit=2, sort="name:asc")]
    assert found == made
    for image_id in made:
        demo.image.delete_image(image_id)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ([{"op": "replace", "path": "/name", "value": 7}], 400),
        ([{"op": "replace", "path": "name", "value": "x"}], 400),
        ([{"op": "copy", "path": "/name"}], 400),
        ({"op": "replace"}, 400),
        ([{"op": "replace", "path": "/size", "value": 7}], 403),
        ([{"op": "remove", "path": "/no_such"}], 409),
    ],
)
def test_bad_patches(demo: Connection, image: Any, changes: Any, status: int) -> None:
    media_type = "application/openstack-images-v2.1-json-patch"
    answer = demo.image.patch(f"/images/{image.id}", json=changes, headers={"Content-Type": media_type})
    assert answer.status_code == status
    assert demo.image.patch(f"/images/{image.id}", json=[]).status_code == 415


def test_lying_and_unsafe_formats(demo: Connection, qcow2: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    backing = ["-b", str(qcow2), "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, overlay], check=True)
    for disk_format, path in (("raw", qcow2), ("vmdk", qcow2), ("qcow2", overlay)):
        made = queued(demo, disk_format=disk_format)
        answer = put(demo, made["id"], path.read_bytes())
        assert answer.status_code == 415
        assert f"disk_format is {disk_format}" in answer.text
        assert demo.image.get_image(made["id"]).status == "queued"
        demo.image.delete_image(made["id"])


def test_upload_again_and_without_a_length(demo: Connection) -> None:
    made = queued(demo)
    body = os.urandom(300_000)
    pieces = iter(lambda stream=io.BytesIO(body): stream.read(7000), b"")
    assert put(demo, made["id"], pieces).status_code == 204
    assert demo.image.get_image(made["id"]).checksum == hashlib.md5(body).hexdigest()
    assert put(demo, made["id"], b"again").status_code == 409
    demo.image.delete_image(made["id"])


def test_client_goes_away(demo: Connection) -> None:
    import http.client
    from urllib.parse import urlsplit

    made = queued(demo)
    address = urlsplit(demo.image.get_endpoint())
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    connection.putrequest("PUT", f"/image/v2/images/{made['id']}/file")
    headers = {"Content-Type": "application/octet-stream", "Content-Length": "1000000"}
    for header, value in {"X-Auth-Token": str(demo.auth_token), **headers}.items():
        connection.putheader(header, value)
    connection.endheaders()
    connection.send(b"x" * 500_000)
    eventually(lambda: demo.image.get_image(made["id"]).status == "saving", what="the upload")
    connection.close()
    eventually(lambda: demo.image.get_image(made["id"]).status == "queued", what="the end of the upload")
    assert put(demo, made["id"], b"x" * 1000).status_code == 204
    demo.image.delete_image(made["id"])
