"""What cannot be built: ERROR with a fault that says why, and nothing is left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from openstack.exceptions import BadRequestException

from tests.real.cloud.real import RealCloud


def _qcow2(folder: Path, size: str) -> bytes:
    path = folder / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), size], check=True)
    return path.read_bytes()


def _corrupt(folder: Path) -> bytes:
    """An image that looks well from its header and whose table of clusters does not point at a cluster."""
    data = bytearray(_qcow2(folder, "64M"))
    table = int.from_bytes(data[40:48], "big")
    data[table : table + 8] = (1 << 63 | 1 << 16 | 1 << 9).to_bytes(8, "big")
    return bytes(data)


def test_image_that_cannot_be_converted(cloud: RealCloud, tmp_path: Path) -> None:
    image = cloud.upload("corrupt", _corrupt(tmp_path))
    server = cloud.boot("corrupt", image_id=image)
    fault = cloud.settled(server, "ERROR").fault
    host = next(cloud.admin.compute.hypervisors()).name
    assert "Host #1: " in fault["message"] and "cannot be converted" in fault["message"], fault
    assert f"Host {host}: " in fault["details"], "which an administrator sees"
    assert "/" not in fault["message"], "a path of the host"
    cloud.assert_nothing_left()
    assert not list((cloud.agent / "images").glob("*.new"))
    assert "cannot be converted" in cloud.pileus("trace", server).replace("\n", " ")
    cloud.delete(server)


def test_image_that_is_larger_than_the_flavors_disk(cloud: RealCloud, tmp_path: Path) -> None:
    """Its size is known from the upload: the request is refused."""
    image = cloud.upload("large", _qcow2(tmp_path, "3G"))
    with pytest.raises(BadRequestException, match="Flavor's disk is too small"):
        cloud.boot("large", image_id=image)
    cloud.assert_nothing_left()


def test_image_whose_data_is_gone(cloud: RealCloud) -> None:
    image = cloud.upload("gone", b"\x07" * 4096, "raw")
    (path,) = (cloud.state / "images").rglob(f"*{image}*")
    path.unlink()
    server = cloud.boot("gone", image_id=image)
    assert "is not there" in cloud.settled(server, "ERROR").fault["message"]
    cloud.assert_nothing_left()
    cloud.delete(server)
