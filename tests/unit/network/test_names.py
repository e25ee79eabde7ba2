"""Names of guests: labels of the cloud's own domain, each its project's."""

from __future__ import annotations

import pytest

from pileus.cloud import Cloud
from pileus.network import names, server_ports
from pileus.network.model import Port
from pileus.network.requests import NetworkRequest
from tests.unit.network.conftest import Caller


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("web", "web"),
        ("Web-1", "web-1"),
        ("web.openstacklocal", "web"),
        ("www.example.com", ""),
        ("web.openstacklocal.example.com", ""),
        ("a.web.openstacklocal", ""),
        ("openstacklocal", "openstacklocal"),
        (".openstacklocal", ""),
        ("localhost", ""),
        ("WPAD", ""),
        ("-web", ""),
        ("w b", ""),
        ("web\n", ""),
        ("w\N{LATIN SMALL LETTER E WITH ACUTE}b", ""),
        ("x" * 64, ""),
        ("", ""),
    ],
)
def test_labels(name: str, label: str) -> None:
    assert names.label(name) == label


def _boot(cloud: Cloud, project: str, server: str, network: str, name: str) -> None:
    with cloud.db.write() as session:
        want = server_ports.Want(server, project, "h", [NetworkRequest(network_id=network)], [], name)
        server_ports.allocate(session, [want])


def _name(cloud: Cloud, server: str) -> str:
    with cloud.db.read() as session:
        (port,) = server_ports.of_server(session, server)
        assert isinstance(port, Port)
        return port.dns_name


def test_a_name_on_a_shared_network_stays_with_who_had_it(cloud: Cloud, admin: Caller, demo: Caller) -> None:
    network = admin.network("10.9.0.0/24", shared=True)["id"]
    _boot(cloud, admin.project_id, "git", network, "git")
    _boot(cloud, demo.project_id, "thief", network, "GIT.openstacklocal")
    _boot(cloud, demo.project_id, "far", network, "www.example.com")
    assert [_name(cloud, server) for server in ("git", "thief", "far")] == ["git", "", ""]
    _boot(cloud, admin.project_id, "git2", network, "git")
    assert _name(cloud, "git2") == "git"
    with cloud.db.write() as session:
        for server in ("git", "git2", "thief"):
            server_ports.release(session, {server: ""})
    _boot(cloud, demo.project_id, "heir", network, "git")
    assert _name(cloud, "heir") == "git"


def test_a_port_of_ones_own_is_named_by_the_same_rule(cloud: Cloud, admin: Caller, demo: Caller) -> None:
    network = admin.network("10.9.0.0/24", shared=True)["id"]
    _boot(cloud, admin.project_id, "git", network, "git")
    port = demo.make("port", network_id=network)["id"]
    with cloud.db.write() as session:
        request = NetworkRequest(port_id=port)
        server_ports.allocate(session, [server_ports.Want("s", demo.project_id, "h", [request], [], "git")])
    assert _name(cloud, "s") == ""


def test_projects_networks_are_apart(cloud: Cloud, demo: Caller, alt: Caller) -> None:
    for who in (demo, alt):
        _boot(cloud, who.project_id, who.project_id, who.network("10.0.0.0/24")["id"], "web")
    assert _name(cloud, demo.project_id) == _name(cloud, alt.project_id) == "web"
