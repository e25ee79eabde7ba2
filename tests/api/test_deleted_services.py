"""A host that leaves the cloud: its service is deleted by real clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openstack.connection import Connection
from openstack.exceptions import ConflictException, ForbiddenException, NotFoundException

from tests.api.conftest import FAKE
from tests.support import CloudUnderTest, eventually

HOST = "fake-1.rack"


@pytest.fixture
def alone() -> Iterator[CloudUnderTest]:
    """A cloud of this test's own, without hosts: those that come and go are no other test's."""
    cloud = CloudUnderTest(None, *FAKE, "--fake-hosts", "0")
    cloud.up()
    yield cloud
    cloud.remove()


@pytest.fixture
def agent(alone: CloudUnderTest) -> Iterator[CloudUnderTest]:
    """An agent that joined, with one host."""
    token, url = alone.pileus("join-token").strip(), f"http://127.0.0.1:{alone.port}"
    options = ("--join", url, "--token", token, "--name", "rack", "--hypervisor", "fake", "--fake-hosts", "1")
    agent = CloudUnderTest(None, *options, verb="agent")
    agent.up()
    yield agent
    agent.remove()


def services(admin: Connection) -> dict[str, Any]:
    return {one.host: one for one in admin.compute.services()}


def boot(admin: Connection) -> Any:
    image = {"name": "zeroes", "disk_format": "raw", "container_format": "bare"}
    image_id = admin.image.create_image(**image, data=bytes(1024 * 1024)).id
    server = admin.compute.create_server(name="s", image_id=image_id, flavor_id="42", networks="none")
    return admin.compute.wait_for_server(server, wait=60)


def test_a_host_leaves_and_comes_back_as_another(alone: CloudUnderTest, agent: CloudUnderTest) -> None:
    admin, demo = alone.connect("admin"), alone.connect("demo")
    service = eventually(lambda: services(admin).get(HOST), 60, "the host")
    server = boot(admin)
    with pytest.raises(ConflictException, match="is hosting instances"):
        admin.compute.delete_service(service)
    with pytest.raises(ForbiddenException):
        demo.compute.delete_service(service.id)
    admin.compute.delete_server(server)
    admin.compute.wait_for_delete(server, wait=60)
    agent.down()
    alone.openstack("--os-compute-api-version", "2.53", "compute", "service", "delete", service.id, parse=False)
    assert HOST not in services(admin) and admin.compute.find_hypervisor(HOST) is None
    with pytest.raises(NotFoundException):
        admin.compute.delete_service(service, ignore_missing=False)
    agent.up()
    assert eventually(lambda: services(admin).get(HOST), 60, "the host, which is back").id != service.id
