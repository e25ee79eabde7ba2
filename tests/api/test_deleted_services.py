"""A host that leaves the cloud: its service is deleted by real clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.connection import Connection
from openstack.exceptions import ConflictException, ForbiddenException, NotFoundException

from tests.api.compute import User
from tests.support import CloudUnderTest, eventually

HOST = "fake-1.rack"


@pytest.fixture
def agent(cloud: CloudUnderTest) -> Iterator[CloudUnderTest]:
    """An agent that joined, with one host."""
    token, url = cloud.pileus("join-token").strip(), f"http://127.0.0.1:{cloud.port}"
    options = ("--join", url, "--token", token, "--name", "rack", "--hypervisor", "fake", "--fake-hosts", "1")
    agent = CloudUnderTest(None, *options, verb="agent")
    agent.up()
    yield agent
    agent.remove()


def services(admin: Connection) -> dict[str, Any]:
    return {one.host: one for one in admin.compute.services()}


def test_a_host_leaves_and_comes_back_as_another(
    agent: CloudUnderTest, admin: Connection, demo: Connection, root_user: User, none: dict[str, Any],
    openstack: Callable[..., Any],
) -> None:  # fmt: skip
    service = eventually(lambda: services(admin).get(HOST), 60, "the host")
    command = ("--os-compute-api-version", "2.53", "compute", "service", "delete", service.id)
    server_id = root_user.boot("2.74", **none, host=HOST)
    with pytest.raises(ConflictException, match="is hosting instances"):
        admin.compute.delete_service(service)
    with pytest.raises(ForbiddenException):
        demo.compute.delete_service(service.id)
    root_user.delete(server_id)
    agent.down()
    openstack(*command, parse=False)
    assert HOST not in services(admin) and admin.compute.find_hypervisor(HOST) is None
    with pytest.raises(NotFoundException):
        admin.compute.delete_service(service, ignore_missing=False)
    agent.up()
    assert eventually(lambda: services(admin).get(HOST), 60, "the host, which is back").id != service.id
