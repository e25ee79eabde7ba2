"""The config drive."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pycdlib

from pileus.agent import configdrive
from pileus.agent.metadata import paths
from tests.unit.agent.specs import SERVER, guest


def read(drive: pycdlib.PyCdlib, path: str, namespace: str = "rr_path") -> bytes:
    content = io.BytesIO()
    drive.get_file_from_iso_fp(content, **{namespace: path})
    return content.getvalue()


def test_what_a_guest_finds_on_it(tmp_path: Path) -> None:
    path = tmp_path / "disk.config"
    for _ in range(2):  # a build that is run again
        configdrive.write(path, paths.config_drive(guest()))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["disk.config"]
    drive = pycdlib.PyCdlib()
    drive.open(str(path))
    assert drive.pvd.volume_identifier.strip() == b"config-2"
    data = json.loads(read(drive, "/openstack/latest/meta_data.json"))
    assert (data["uuid"], data["admin_pass"]) == (SERVER, "hunter2")
    assert read(drive, "/openstack/2012-08-10/user_data") == b"#!/bin/sh\n"
    assert read(drive, "/openstack/latest/network_data.json", "joliet_path").startswith(b'{"links"')
    assert json.loads(read(drive, "/ec2/latest/meta-data.json"))["hostname"] == "web-1"
    drive.close()


def test_no_user_data_no_file() -> None:
    files = paths.config_drive(guest(data={"user_data": None}))
    assert "openstack/latest/meta_data.json" in files
    assert not [path for path in files if "user" in path]
