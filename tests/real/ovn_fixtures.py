"""One host with OVN for a module, a network of each test's own, and two guests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.network.northbound.base import RuleSpec
from tests.real.ovn_world import Host, World, inside, namespace, network, rule


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    state = Path(tempfile.mkdtemp(prefix="pileus-ovn-"))
    state.chmod(0o711)
    with namespace() as name, inside(name):
        host = Host(state, network(state))
        try:
            host.start()
            yield host
        finally:
            host.northbound.close()
            host.driver.stop(keep_guests=False)
            assert not any(host.pids().values())
    shutil.rmtree(state)


@pytest.fixture
def world(host: Host) -> Iterator[World]:
    """A network of the test's own, removed with everything that hangs on it."""
    world = World()
    yield world
    for row in host.rows("Logical_Switch_Port"):
        host.northbound.drop_port(row.name)
    for row in host.rows("Port_Group"):
        if group_id := row.external_ids.get("neutron:security_group_id"):
            host.northbound.drop_security_group(group_id)
    host.northbound.drop_network(world.network_id)
    host.driver.release_host([world.network_id])


@pytest.fixture
def guests() -> Iterator[tuple[str, str]]:
    with namespace() as one, namespace() as two:
        yield one, two


def egress() -> tuple[RuleSpec, ...]:
    return rule("egress"), rule("egress", ethertype="IPv6")
