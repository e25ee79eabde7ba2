"""Two tenants on real OVN: what one asks of the API, and does in his guests, against what reaches the other's.

The API's requests are made to the application in this process; what it owes the network is paid to a real northbound
database. Guests are namespaces, as in ovn_world.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pileus.agent.commands import GuestSpec, InstanceData
from pileus.agent.metadata import MetadataService, MetadataStore
from pileus.agent.timeline import Timeline
from pileus.cloud import Cloud, registry
from pileus.network import server_ports, wiring
from pileus.network.model import SecurityGroupRule
from pileus.network.requests import NetworkRequest
from pileus.operations.collector import Collector
from pileus.settings import Settings
from tests.databases import Databases
from tests.real.ovn_world import (
    HOST,
    NEEDS_OVN,
    Host,
    inside,
    listen,
    namespace,
    network,
    ping,
    plug,
    resolve,
    sh,
    soon,
    tcp_answers,
)  # fmt: skip
from tests.unit.network.conftest import Caller, as_first_started

pytestmark = NEEDS_OVN
METADATA = "http://169.254.169.254"
GROUP = "neutron:security_group_id"
ODD = "\uffff\N{REPLACEMENT CHARACTER}\u202e\n\"'\\{}$@"


class Tenants:
    """One host with guests of several projects."""

    def __init__(self, cloud: Cloud, host: Host, store: MetadataStore, guests: ExitStack) -> None:
        self.cloud, self.host, self.store, self.guests = cloud, host, store, guests
        self.addresses: dict[str, str] = {}
        self.admin, self.demo, self.alt = (Caller(cloud, name) for name in ("admin", "demo", "alt_demo"))
        self._collector = Collector(
            cloud.db,
            lambda envelope: pytest.fail("no host is owed anything"),
            lambda change: change(host.northbound),
            registry(),
        )

    def settle(self) -> None:
        """Have the network told all that it is owed."""
        while self._collector.collect():
            pass

    def boot(self, who: Caller, server: str, request: NetworkRequest, name: str = "") -> str:
        """A guest for a server, which has its address by DHCP; gives its namespace."""
        with self.cloud.db.write() as session:
            wanted = [request]
            want = server_ports.Want(server, who.project_id, HOST, wanted, [], name)
            ((port,),) = server_ports.allocate(session, [want])
        self.settle()
        self.tell(who, server)
        guest = self.guests.enter_context(namespace())
        with self.cloud.db.read() as session:
            (wired,) = wiring.wire(session, [port])
        self.host.boot(wired, guest)
        self.addresses[server] = wired.port.fixed_ips[0].ip_address
        return guest

    def tell(self, who: Caller, server: str) -> None:
        """Have the host know what the control plane would tell it of a server."""
        with self.cloud.db.read() as session:
            ports = wiring.guest_ports(session, [server])[server]
        data = InstanceData(hostname=server, name=f"data of {server}", project_id=who.project_id)
        number = f"00000000-0000-0000-0000-{abs(hash(server)) % 10**12:012d}"
        self.store.put(
            GuestSpec(server_id=number, instance_name=server, vcpus=1, memory_mib=1, root_gib=1, ports=ports, data=data)
        )


@pytest.fixture
def tenants(databases: Databases, tmp_path: Path) -> Iterator[Tenants]:
    state = Path(tempfile.mkdtemp(prefix="pileus-ovn-"))
    state.chmod(0o711)
    store = MetadataStore(tmp_path / "metadata")
    service = MetadataService(store)
    copy = databases.copy(as_first_started, tmp_path / "pileus.db")
    with copy as database, ExitStack() as stack, namespace() as name, inside(name):
        host = Host(state, network(state))
        try:
            host.driver.start(service.listen)
            yield Tenants(Cloud(Settings(state=str(tmp_path), bcrypt_rounds=4), database), host, store, stack)
        finally:
            stack.close()
            host.northbound.close()
            host.driver.stop(keep_guests=False)
            service.stop()
    shutil.rmtree(state)


def curl(guest: str, path: str, *options: str) -> str:
    return sh("ip", "netns", "exec", guest, "curl", "-sS", "--max-time", "10", *options, METADATA + path)


def take_address(guest: str, address: str) -> None:
    """Do as if it were one's own."""
    sh("ip", "-n", guest, "addr", "flush", "dev", "eth0")
    sh("ip", "-n", guest, "addr", "add", f"{address}/24", "dev", "eth0")


def test_a_planted_port_gives_no_data_and_no_way_to_the_guest(tenants: Tenants) -> None:
    """Item 1: a port of mine with `device_id` of your server."""
    demo, alt = tenants.demo, tenants.alt
    mine, trap = demo.network("10.0.0.0/24"), alt.network("10.66.0.0/24")
    victim = tenants.boot(demo, "victim", NetworkRequest(network_id=mine["id"]))
    assert "data of victim" in curl(victim, "/openstack/latest/meta_data.json")
    port = alt.make("port", network_id=trap["id"], device_id="victim", device_owner="compute:nova")
    planted = port["fixed_ips"][0]["ip_address"]
    own = alt.make("port", network_id=trap["id"], allowed_address_pairs=[{"ip_address": planted}])["id"]
    thief = tenants.boot(alt, "thief", NetworkRequest(port_id=own))
    tenants.tell(demo, "victim")  # as after a reboot
    tenants.settle()
    assert not [row for row in tenants.host.rows("Logical_Switch_Port") if row.name == port["id"]]
    assert "data of thief" in curl(thief, "/openstack/latest/meta_data.json")
    sh("ip", "-n", thief, "addr", "add", f"{planted}/32", "dev", "eth0")
    answer = curl(thief, "/openstack/latest/meta_data.json", "--interface", planted)
    assert "victim" not in answer and "404" in answer
    assert not ping(thief, tenants.addresses["victim"])


def test_an_address_on_a_shared_network_is_not_taken(tenants: Tenants) -> None:
    """Item 3: the gateway's address, another guest's, and a port that has none at all."""
    admin, demo, alt = tenants.admin, tenants.demo, tenants.alt
    commons = admin.network("10.9.0.0/24", shared=True)["id"]
    group = demo.make("security_group", name="open")["id"]
    demo.make("security_group_rule", security_group_id=group, direction="ingress")
    open_port = demo.make("port", network_id=commons, security_groups=[group])["id"]
    victim = tenants.boot(demo, "victim", NetworkRequest(port_id=open_port))
    thief = tenants.boot(alt, "thief", NetworkRequest(network_id=commons))
    bare = alt.make("port", network_id=commons, fixed_ips=[])["id"]
    with tenants.cloud.db.write() as session:  # compute refuses such a port; the network is not to trust in that
        want = server_ports.Want("nobody", alt.project_id, HOST, [NetworkRequest(port_id=bare)], [], "")
        server_ports.allocate(session, [want])
        (wired,) = wiring.wire(session, [bare])
    tenants.settle()
    nobody = tenants.guests.enter_context(namespace())
    plug(tenants.host.state, wired, tenants.host.driver.tap_name(bare), nobody)
    tenants.host.driver.await_up([bare], 30, Timeline())
    there = tenants.addresses["victim"]
    with listen(victim, 8080):
        assert soon(lambda: tcp_answers(thief, there, 8080))
        for false in ("10.9.0.1", "10.9.0.2", "10.9.0.200"):
            take_address(thief, false)
            take_address(nobody, false)
            assert not tcp_answers(thief, there, 8080), false
            assert not tcp_answers(nobody, there, 8080), false
        take_address(thief, tenants.addresses["thief"])
        assert soon(lambda: tcp_answers(thief, there, 8080))


def test_names_on_a_shared_network_lead_to_whose_they_are(tenants: Tenants) -> None:
    """Item 5: a host name takes over no other's, and none outside the cloud's domain."""
    admin, demo, alt = tenants.admin, tenants.demo, tenants.alt
    commons = admin.network("10.9.0.0/24", shared=True)["id"]
    request = NetworkRequest(network_id=commons)
    asking = tenants.boot(demo, "git", request, "git")
    tenants.boot(alt, "thief", request, "git.openstacklocal")
    tenants.boot(alt, "far", request, "www.example.com")
    tenants.boot(alt, "honest", request, "web")
    (dns,) = tenants.host.rows("DNS")
    names = {name for name in dns.records if not name.endswith(".arpa")}
    assert names == {"git", "git.openstacklocal", "web", "web.openstacklocal"}
    (port,) = admin("GET", f"/ports?network_id={commons}&device_owner=network:distributed")[1]["ports"]
    server = port["fixed_ips"][0]["ip_address"]
    assert resolve(asking, server, "git.openstacklocal") == tenants.addresses["git"]
    assert resolve(asking, server, "git") == tenants.addresses["git"]
    assert resolve(asking, server, "web") == tenants.addresses["honest"]
    with pytest.raises(TimeoutError):
        resolve(asking, server, "www.example.com")


def test_what_is_taken_away_lets_nobody_in_any_more(tenants: Tenants) -> None:
    """Item 10: no rule keeps a later revocation from the network; and none lets in another project's group."""
    demo, alt = tenants.demo, tenants.alt
    network_id = demo.network("10.0.0.0/24")["id"]
    group = demo.make("security_group", name="open")["id"]
    theirs = alt.make("security_group", name="theirs")["id"]
    tcp = {"security_group_id": group, "direction": "ingress", "protocol": "tcp"}
    rule = demo.make("security_group_rule", **tcp, port_range_min=8080, port_range_max=8080)["id"]
    port = demo.make("port", network_id=network_id, security_groups=[group])["id"]
    server = tenants.boot(demo, "server", NetworkRequest(port_id=port))
    client = tenants.boot(demo, "client", NetworkRequest(network_id=network_id))
    there = tenants.addresses["server"]
    with listen(server, 8080):
        assert soon(lambda: tcp_answers(client, there, 8080))
        for values, status in (
            ({"protocol": "hopopt"}, 400),
            ({"protocol": "\N{SUPERSCRIPT TWO}"}, 400),
            ({"protocol": "dccp", "port_range_min": 1, "port_range_max": 9}, 400),
            ({"protocol": "udplite", "port_range_min": 1, "port_range_max": 9}, 400),
            ({"ethertype": "IPv6", "remote_ip_prefix": "fd00::%a b/64"}, 400),
            ({"remote_group_id": theirs}, 404),
        ):
            assert demo("POST", "/security-group-rules", {"security_group_rule": tcp | values})[0] == status
        with tenants.cloud.db.write() as session:  # as a program before this one took them
            for old in ({"protocol": "hopopt"}, {"protocol": "dccp", "port_range_min": 1, "port_range_max": 9}):
                values = tcp | {"ethertype": "IPv4", "project_id": demo.project_id} | old
                session.add(SecurityGroupRule(**values))
        assert demo("DELETE", f"/security-group-rules/{rule}")[0] == 204
        tenants.settle()
        assert soon(lambda: not tcp_answers(client, there, 8080))


def test_what_the_api_takes_ovn_understands(tenants: Tenants) -> None:
    """No rule that is accepted is one that ovn-northd or ovn-controller cannot read, and no name."""
    demo = tenants.demo
    demo("PUT", f"/networks/{demo.network('10.0.0.0/24')['id']}", {"network": {"name": ODD}})
    network_id = demo.network("10.0.1.0/24")["id"]
    group = demo.make("security_group", name=ODD)["id"]
    rule = {"security_group_id": group, "direction": "ingress"}
    tenants.admin("PUT", f"/quotas/{demo.project_id}", {"quota": {"security_group_rule": -1}})
    for number in range(256):
        for ethertype in ("IPv4", "IPv6"):
            body = {"security_group_rule": rule | {"protocol": number, "ethertype": ethertype}}
            assert demo("POST", "/security-group-rules", body)[0] in (201, 400)
    port = demo.make("port", network_id=network_id, security_groups=[group], name=ODD)["id"]
    tenants.boot(demo, "server", NetworkRequest(port_id=port))
    (row,) = (row for row in tenants.host.rows("Port_Group") if row.external_ids.get(GROUP) == group)
    assert len(row.acls) > 500 and row.external_ids["neutron:security_group_name"] == ODD
    logs = [path.read_text() for path in tenants.host.state.rglob("ovn-*.log")]
    assert logs and not any("error parsing" in log for log in logs)
