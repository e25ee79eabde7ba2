"""What a project can do to another by the network API: nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.cloud import Cloud
from pileus.errors import Forbidden, Invalid
from pileus.network import addresses, security_groups, server_ports, wiring
from pileus.network.model import METADATA_OWNER, Network, Port
from pileus.network.requests import NetworkRequest, validate
from tests.unit.network.computes import allocate, member
from tests.unit.network.conftest import Caller, error

ZONES = ("fd00::5%eth0", "fd00::5%x y", "fd00::5%1")


# --- whose port it is ---------------------------------------------------------------------------------------


def test_a_port_that_names_a_foreign_server_is_not_its_port(cloud: Cloud, demo: Caller, alt: Caller) -> None:
    mine, theirs = demo.network("10.0.0.0/24"), alt.network("10.5.0.0/24")
    with cloud.db.write() as session:
        (own,) = allocate(session, demo.project_id, "victim", "h", NetworkRequest(network_id=mine["id"]))
    evil = alt.make("security_group", name="evil")["id"]
    planted = alt.make(
        "port", network_id=theirs["id"], device_id="victim", device_owner="compute:nova", security_groups=[evil]
    )
    later = alt.make("port", network_id=theirs["id"])
    values = {"device_id": "victim", "device_owner": "compute:nova"}
    assert alt("PUT", f"/ports/{later['id']}", {"port": values})[0] == 200
    with cloud.db.write() as session:
        assert [port.id for port in server_ports.of_server(session, "victim")] == [own]
        assert [one.port.id for one in wiring.guest_ports(session, ["victim"])["victim"]] == [own]
        assert {row.network_id for row in addresses.for_servers(session, ["victim"])["victim"]} == {mine["id"]}
        assert security_groups.names_for_servers(session, ["victim"]) == {"victim": ["default"]}
        assert evil not in {group.id for group in security_groups.of_server(session, "victim")}
        assert session.scalars(addresses.servers_at(4, "10.5.0.")).all() == []
        assert allocate(session, demo.project_id, "victim", "h2") == [own]
        server_ports.release(session, {"victim": ""})
    assert {port["id"] for port in alt("GET", "/ports?device_id=victim")[1]["ports"]} == {planted["id"], later["id"]}


def test_a_server_is_given_no_port_of_another_project(cloud: Cloud, demo: Caller, alt: Caller) -> None:
    """Whoever asked for it, and whatever was checked before."""
    port = alt.make("port", network_id=alt.network("10.5.0.0/24")["id"])["id"]
    asks = member(cloud, demo.project_id)
    with cloud.db.read() as session:
        with pytest.raises(Invalid, match=f"Port id {port} could not be found"):
            validate(session, asks, [{"port": port}])
        asks.caller = type(asks.caller)(
            user_id="u", user_name="u", user_domain_id="d", project_id=demo.project_id, roles=("admin",)
        )
        asks.__dict__.pop("_credentials", None)
        with pytest.raises(Invalid, match="is not of the server's project"):
            validate(session, asks, [{"port": port}])
        assert validate(session, asks, [{"port": port}], alt.project_id)[0].port_id == port
    with cloud.db.write() as session, pytest.raises(Invalid, match=f"Port {port} not usable for instance s"):
        allocate(session, demo.project_id, "s", "h", NetworkRequest(port_id=port))


def test_a_port_on_the_external_network_attaches_nobody_to_it(cloud: Cloud, demo: Caller) -> None:
    (public,) = demo("GET", "/networks?name=public")[1]["networks"]
    port = demo.make("port", network_id=public["id"])["id"]
    with cloud.db.read() as session, pytest.raises(Forbidden, match="external network"):
        validate(session, member(cloud, demo.project_id), [{"port": port}])


# --- addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.9.0.1", "10.9.0.77", "10.9.0.2"])
def test_addresses_on_a_shared_network_are_its_owners(cloud: Cloud, admin: Caller, demo: Caller, address: str) -> None:
    network = admin.network("10.9.0.0/24", shared=True)["id"]
    with cloud.db.read() as session, pytest.raises(Forbidden, match="Only its owner chooses addresses"):
        validate(session, member(cloud, demo.project_id), [{"uuid": network, "fixed_ip": address}])
    port = demo.make("port", network_id=network)
    for values in (
        {"fixed_ips": [{"ip_address": address}]},
        {"fixed_ips": []},
        {"mac_address": "fa:16:3e:00:00:99"},
        {"port_security_enabled": False},
        {"allowed_address_pairs": [{"ip_address": address}]},
        {"device_owner": "network:router_interface"},
    ):
        assert error(demo("PUT", f"/ports/{port['id']}", {"port": values})) == (403, "PolicyNotAuthorized"), values
        if values != {"fixed_ips": []}:
            made = demo("POST", "/ports", {"port": {"network_id": network} | values})
            assert error(made) == (403, "PolicyNotAuthorized"), values
    body = {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.77.0.0/24"}}
    assert error(demo("POST", "/subnets", body)) == (403, "PolicyNotAuthorized")
    assert demo("GET", f"/ports/{port['id']}")[1]["port"] == port


@pytest.mark.parametrize("fixed_ip", [*ZONES, "10.0.0.010", "10.0.0.\N{FULLWIDTH DIGIT SEVEN}"])
def test_compute_reads_addresses_strictly(cloud: Cloud, demo: Caller, fixed_ip: str) -> None:
    network = demo.network("10.0.0.0/24", "fd00::/64")["id"]
    with cloud.db.read() as session, pytest.raises(Invalid, match="Invalid fixed IP address"):
        validate(session, member(cloud, demo.project_id), [{"uuid": network, "fixed_ip": fixed_ip}])


@pytest.mark.parametrize("address", [*ZONES, "10.0.0.010", "167772161"])
def test_every_attribute_with_an_address_refuses_free_text(demo: Caller, address: str) -> None:
    network = demo.network("10.0.0.0/24", "fd00::/64")
    port = demo.make("port", network_id=network["id"])
    group = demo.make("security_group", name="g")
    subnet = demo("GET", f"/subnets?network_id={network['id']}&ip_version=6")[1]["subnets"][0]
    on = {"network_id": network["id"]}
    rule = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv6"}
    prefix, hop = f"{address}/64", {"destination": "fd01::/64", "nexthop": address}
    for method, path, noun, values in (
        ("POST", "/ports", "port", on | {"fixed_ips": [{"ip_address": address}]}),
        ("PUT", f"/ports/{port['id']}", "port", {"fixed_ips": [{"ip_address": address}]}),
        ("PUT", f"/ports/{port['id']}", "port", {"allowed_address_pairs": [{"ip_address": address}]}),
        ("PUT", f"/ports/{port['id']}", "port", {"allowed_address_pairs": [{"ip_address": prefix}]}),
        ("POST", "/subnets", "subnet", on | {"ip_version": 6, "cidr": prefix}),
        ("POST", "/subnets", "subnet", on | {"ip_version": 6, "cidr": "fd02::/64", "gateway_ip": address}),
        ("PUT", f"/subnets/{subnet['id']}", "subnet", {"gateway_ip": address}),
        ("PUT", f"/subnets/{subnet['id']}", "subnet", {"dns_nameservers": [address]}),
        ("PUT", f"/subnets/{subnet['id']}", "subnet", {"allocation_pools": [{"start": address, "end": address}]}),
        ("PUT", f"/subnets/{subnet['id']}", "subnet", {"host_routes": [hop]}),
        ("PUT", f"/subnets/{subnet['id']}", "subnet", {"host_routes": [{"destination": prefix, "nexthop": "fd00::9"}]}),
        ("POST", "/security-group-rules", "security_group_rule", rule | {"remote_ip_prefix": address}),
        ("POST", "/security-group-rules", "security_group_rule", rule | {"remote_ip_prefix": prefix}),
    ):
        assert error(demo(method, path, {noun: values})) == (400, "HTTPBadRequest"), (path, values)
    assert demo("GET", f"/ports/{port['id']}")[1]["port"] == port


@pytest.mark.parametrize("cidr", ["0.0.0.0/8", "::/96", "::ffff:0:0/100", "127.0.0.0/8", "224.0.0.0/24", "ff00::/64"])
def test_blocks_that_are_no_hosts(demo: Caller, cidr: str) -> None:
    values = {"network_id": demo.make("network")["id"], "cidr": cidr, "ip_version": 6 if ":" in cidr else 4}
    assert error(demo("POST", "/subnets", {"subnet": values})) == (400, "InvalidInput")


def test_no_row_holds_what_no_reader_read() -> None:
    with pytest.raises(ValueError, match="not a valid MAC"):
        Port(mac_address="fa:16:3e:00:00:01 10.0.0.1")


# --- the cloud's own ports ----------------------------------------------------------------------------------


def test_the_clouds_own_mark_is_nobodys(demo: Caller, admin: Caller) -> None:
    network = demo.network("10.0.0.0/24")["id"]
    admin("PUT", f"/quotas/{demo.project_id}", {"quota": {"port": 2}})
    made = demo.make("port", network_id=network)
    for who in (demo, admin):
        body = {"port": {"network_id": network, "device_owner": METADATA_OWNER}}
        assert error(who("POST", "/ports", body)) == (400, "HTTPBadRequest")
        body = {"port": {"device_owner": METADATA_OWNER}}
        assert error(who("PUT", f"/ports/{made['id']}", body)) == (400, "HTTPBadRequest")
    for owner in ("network:dhcp", "network:router_interface"):  # others count, and are deleted by whoever made them
        port = demo.make("port", network_id=network, device_owner=owner)
        assert error(demo("POST", "/ports", {"port": {"network_id": network}})) == (409, "OverQuota")
        assert demo("DELETE", f"/ports/{port['id']}")[0] == 204


@pytest.mark.parametrize(
    "values",
    [
        {"device_owner": ""},
        {"device_id": "x"},
        {"fixed_ips": [{"ip_address": "10.0.0.1"}]},
        {"allowed_address_pairs": [{"ip_address": "0.0.0.0/0"}]},
        {"admin_state_up": False},
        {"port_security_enabled": True},
        {"security_groups": []},
        {"mac_address": "fa:16:3e:00:00:01"},
        {"binding:host_id": "h"},
    ],
)
def test_the_metadata_port_stays_as_the_cloud_made_it(demo: Caller, admin: Caller, values: dict[str, Any]) -> None:
    network = demo.network("10.0.0.0/24")["id"]
    (port,) = demo("GET", f"/ports?network_id={network}")[1]["ports"]
    assert error(admin("PUT", f"/ports/{port['id']}", {"port": values})) == (409, "ServicePortInUse")
    assert demo("PUT", f"/ports/{port['id']}", {"port": values})[0] in (403, 409)
    assert demo("GET", f"/ports?network_id={network}")[1]["ports"] == [port]
    assert demo("PUT", f"/ports/{port['id']}", {"port": {"name": "mine"}})[0] == 200


# --- security groups ----------------------------------------------------------------------------------------


def test_groups_of_others(demo: Caller, alt: Caller, admin: Caller) -> None:
    theirs = alt.make("security_group", name="theirs")["id"]
    mine = demo.make("security_group", name="mine")["id"]
    rule = {"security_group_id": mine, "direction": "ingress", "remote_group_id": theirs}
    refused = (404, "SecurityGroupNotFound")
    assert error(demo("POST", "/security-group-rules", {"security_group_rule": rule})) == refused
    assert error(demo("POST", "/security-group-rules", {"security_group_rules": [rule]})) == refused
    for who in (demo, admin):
        for nothing in ("nothing", ""):
            body = {"security_group_rule": rule | {"remote_group_id": nothing}}
            assert error(who("POST", "/security-group-rules", body)) == refused
    assert demo.make("security_group_rule", **(rule | {"remote_group_id": mine}))
    assert admin.make("security_group_rule", **rule), "an administrator may join them"
    network = demo.network("10.0.0.0/24")["id"]
    assert error(demo("POST", "/ports", {"port": {"network_id": network, "security_groups": [theirs]}})) == refused
    port = demo.make("port", network_id=network)["id"]
    assert error(demo("PUT", f"/ports/{port}", {"port": {"security_groups": [theirs]}})) == refused
    into = {"security_group_id": theirs, "direction": "ingress"}
    assert error(demo("POST", "/security-group-rules", {"security_group_rule": into})) == refused


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"protocol": "hopopt"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "\N{FULLWIDTH DIGIT SIX}"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "\N{SUPERSCRIPT TWO}"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "dccp", "port_range_min": 5, "port_range_max": 6}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "33", "port_range_min": 5, "port_range_max": 6}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "udplite", "port_range_min": 5, "port_range_max": 6}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "136", "port_range_min": 5, "port_range_max": 6}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "ip", "port_range_min": 5, "port_range_max": 6}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "0", "port_range_min": 5, "port_range_max": 6}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"protocol": "58"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"protocol": "ipv6-frag"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"protocol": "43"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"protocol": "tcp", "port_range_min": "\N{FULLWIDTH DIGIT ONE}", "port_range_max": 2},
         "SecurityGroupInvalidPortValue"),
        ({"ethertype": "IPv6", "remote_ip_prefix": "10.0.0.0/8"}, "SecurityGroupRuleParameterConflict"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_carried_is_refused(demo: Caller, values: dict[str, Any], kind: str) -> None:
    group = demo.make("security_group", name="g")
    rule = {"security_group_id": group["id"], "direction": "ingress"} | values
    assert error(demo("POST", "/security-group-rules", {"security_group_rule": rule})) == (400, kind)
    assert demo("GET", f"/security-groups/{group['id']}")[1]["security_group"] == group


# --- lists --------------------------------------------------------------------------------------------------


def test_markers_filters_and_orders_tell_nothing_of_others(demo: Caller, alt: Caller, admin: Caller) -> None:
    network = alt.network("10.5.0.0/24")["id"]
    rows = {
        "networks": network,
        "subnets": alt("GET", f"/subnets?network_id={network}")[1]["subnets"][0]["id"],
        "ports": alt.make("port", network_id=network)["id"],
        "security-groups": alt.make("security_group", name="g")["id"],
    }
    rows["security-group-rules"] = alt("GET", "/security-group-rules")[1]["security_group_rules"][0]["id"]
    for nouns, id in rows.items():
        there = demo("GET", f"/{nouns}?limit=1&marker={id}")
        nowhere = demo("GET", f"/{nouns}?limit=1&marker=00000000-0000-0000-0000-000000000000")
        assert error(there) == error(nowhere) == (400, "InvalidMarker")
        assert admin("GET", f"/{nouns}?limit=1&marker={id}")[0] == 200
    for nouns, hidden in (("ports", "binding:host_id"), ("networks", "provider:network_type")):
        for query in (f"{hidden}=x", f"sort_key={hidden}&sort_dir=asc", f"sort_key=id&sort_dir=asc&sort_key={hidden}"):
            assert demo("GET", f"/{nouns}?{query}")[0] == 400, query
        assert demo("GET", f"/{nouns}?fields={hidden}")[0] == 200
        assert all(not row for row in demo("GET", f"/{nouns}?fields={hidden}")[1][nouns])
        assert admin("GET", f"/{nouns}?sort_key={hidden}&sort_dir=asc")[0] == 200


def test_a_private_network_that_is_shared_with_nobody(cloud: Cloud, demo: Caller, alt: Caller) -> None:
    network = demo.network("10.0.0.0/24")["id"]
    with cloud.db.read() as session:
        assert session.get_one(Network, network).project_id == demo.project_id
        with pytest.raises(Invalid, match="could not be found"):
            validate(session, member(cloud, alt.project_id), [{"uuid": network}])
    refused = alt("POST", "/subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24"}})
    assert error(refused) == (404, "NetworkNotFound")
    for noun, values in (
        ("network", {"project_id": demo.project_id}),
        ("security_group", {"tenant_id": demo.project_id}),
    ):
        assert error(alt("POST", f"/{noun.replace('_', '-')}s", {noun: values})) == (400, "HTTPBadRequest")
