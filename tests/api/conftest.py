"""A live cloud with the fake hypervisor, and clients of three projects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openstack.connection import Connection

from tests.api.compute import User
from tests.support import CloudUnderTest

Behave = Callable[..., None]
FAKE = ("--hypervisor", "fake", "--network", "fake")


@pytest.fixture(scope="session")
def cloud(new_database: Callable[[], str | None]) -> Iterator[CloudUnderTest]:
    """The cloud that the tests of this suite share."""
    cloud = CloudUnderTest(new_database(), *FAKE, "--fake-hosts", "3")
    cloud.up()
    yield cloud
    cloud.remove()


@pytest.fixture(scope="session")
def admin(cloud: CloudUnderTest) -> Connection:
    return cloud.connect("admin")


@pytest.fixture(scope="session")
def demo(cloud: CloudUnderTest) -> Connection:
    return cloud.connect("demo")


@pytest.fixture(scope="session")
def alt(cloud: CloudUnderTest) -> Connection:
    return cloud.connect("alt_demo")


@pytest.fixture(scope="session")
def openstack(cloud: CloudUnderTest) -> Callable[..., Any]:
    """The real command line client."""
    return cloud.openstack


@pytest.fixture(scope="session")
def image(admin: Connection) -> str:
    """Id of a public image: a megabyte of zeroes, which the fake hypervisor boots."""
    made = admin.image.create_image(
        name="zeroes",
        disk_format="raw",
        container_format="bare",
        visibility="public",
        data=bytes(1024 * 1024),
    )
    return str(made.id)


@pytest.fixture(scope="session")
def network(demo: Connection) -> str:
    """Id of a network of demo's, with a subnet."""
    made = demo.network.create_network(name="net")
    demo.network.create_subnet(network_id=made.id, name="subnet", ip_version=4, cidr="10.1.0.0/16")
    return str(made.id)


# --- raw requests -------------------------------------------------------------------------------------------


def _user(cloud: CloudUnderTest, name: str) -> User:
    return User.login(cloud, name, cloud.credentials(name)["OS_PASSWORD"], name)


@pytest.fixture(scope="session")
def root_user(cloud: CloudUnderTest) -> User:
    """The administrator."""
    return _user(cloud, "admin")


@pytest.fixture(scope="session")
def owner_session(cloud: CloudUnderTest) -> User:
    return _user(cloud, "demo")


@pytest.fixture
def owner(owner_session: User) -> Iterator[User]:
    """A member of project demo, whose servers are gone after the test."""
    yield owner_session
    owner_session.clear()


@pytest.fixture(scope="session")
def stranger(cloud: CloudUnderTest) -> User:
    """A member of another project."""
    return _user(cloud, "alt_demo")


@pytest.fixture(scope="session")
def reader(cloud: CloudUnderTest, admin: Connection) -> User:
    """Somebody who may only look at project demo."""
    user = admin.identity.create_user(name="looker", password="looks")
    admin.identity.assign_project_role_to_user(
        admin.identity.find_project("demo"), user, admin.identity.find_role("reader")
    )
    return User.login(cloud, "looker", "looks", "demo")


@pytest.fixture(scope="session")
def nobody(cloud: CloudUnderTest) -> User:
    """Somebody without a token."""
    return User(f"http://127.0.0.1:{cloud.port}", None)


# --- servers and hosts ----------------------------------------------------------------------------------------


@pytest.fixture
def none(image: str) -> dict[str, Any]:
    """A server without a network, for 2.37 and later."""
    return {"imageRef": image, "networks": "none"}


@pytest.fixture
def behave(cloud: CloudUnderTest) -> Iterator[Behave]:
    """Tells the fake hypervisor how to behave: behave(fail_build={"fake-1": "reason"}, build_s=0.1)."""
    path = cloud.state / "agent" / "fake" / "behaviour.json"

    def change(**behaviour: Any) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(behaviour))
        fresh.rename(path)

    yield change
    path.unlink(missing_ok=True)


@pytest.fixture
def left(cloud: CloudUnderTest) -> Callable[[], dict[str, int]]:
    """Counts what servers hold."""

    def count() -> dict[str, int]:
        tables = ("consumers", "allocations", "ports", "fixed_ips")
        rows = {table: int(cloud.query(f"SELECT count(*) FROM {table}")[0][0]) for table in tables}
        guests = [path for path in (cloud.state / "agent" / "fake").glob("fake-*/*") if path.is_file()]
        return rows | {"guests": len(guests)}

    return count
