"""The network API as a client sees it: forms, errors, policy, lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.network.conftest import Caller, error

Count = Callable[[Callable[[], Any]], int]


def test_name_is_not_an_id(demo: Caller) -> None:
    assert demo("GET", "/networks/NAME") == (
        404,
        {
            "NeutronError": {
                "type": "NetworkNotFound",
                "message": "Network NAME could not be found.",
                "detail": "",
            }
        },
    )


def test_external_network_is_seen_without_its_provider(admin: Caller, demo: Caller) -> None:
    (mine,) = demo("GET", "/networks?name=public")[1]["networks"]
    (full,) = admin("GET", "/networks?name=public")[1]["networks"]
    assert full["provider:network_type"] == "flat" and full["is_default"] is True
    assert set(full) - set(mine) == {
        "provider:network_type",
        "provider:physical_network",
        "provider:segmentation_id",
    }


@pytest.mark.parametrize("values", [{"shared": True}, {"router:external": True}, {"provider:network_type": "geneve"}])
def test_admins_attributes(demo: Caller, admin: Caller, values: dict[str, Any]) -> None:
    assert error(demo("POST", "/networks", {"network": values})) == (403, "PolicyNotAuthorized")
    assert admin("POST", "/networks", {"network": values})[0] == 201


def test_other_projects(demo: Caller, alt: Caller, admin: Caller) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    for path in (f"/networks/{network['id']}", f"/ports/{port['id']}", f"/subnets/{_subnet(demo, network)}"):
        for method, body in (
            ("GET", None),
            ("DELETE", None),
            ("PUT", {path.split("/")[1][:-1]: {"name": "x"}}),
        ):
            assert alt(method, path, body)[0] == 404
    assert error(alt("POST", "/ports", {"port": {"network_id": network["id"]}})) == (404, "NetworkNotFound")
    body = {"network": {"project_id": demo.project_id}}
    assert error(alt("POST", "/networks", body)) == (400, "HTTPBadRequest")
    assert admin("POST", "/networks", body)[1]["network"]["tenant_id"] == demo.project_id


def _subnet(who: Caller, network: dict[str, Any]) -> str:
    return str(who("GET", f"/subnets?network_id={network['id']}")[1]["subnets"][0]["id"])


def test_shared_network(admin: Caller, demo: Caller) -> None:
    network = admin.network("10.0.0.0/24", shared=True)
    assert demo.make("port", network_id=network["id"])["fixed_ips"]
    assert demo.make("port", network_id=network["id"], fixed_ips=[{"subnet_id": _subnet(demo, network)}])
    refused = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.0.0.77"}]}}
    assert error(demo("POST", "/ports", refused)) == (403, "PolicyNotAuthorized")
    assert error(demo("PUT", f"/networks/{network['id']}", {"network": {"name": "x"}})) == (
        403,
        "PolicyNotAuthorized",
    )
    unshare = {"network": {"shared": False}}
    assert error(admin("PUT", f"/networks/{network['id']}", unshare)) == (409, "InvalidSharedSetting")


def test_metadata_port_comes_and_goes(demo: Caller) -> None:
    network = demo.network("10.0.0.0/24", "fd00::/64 slaac")
    (port,) = demo("GET", f"/ports?network_id={network['id']}")[1]["ports"]
    assert (port["device_owner"], port["device_id"]) == ("network:distributed", f"ovnmeta-{network['id']}")
    assert len(port["fixed_ips"]) == 2
    assert error(demo("DELETE", f"/ports/{port['id']}")) == (409, "ServicePortInUse")
    (four,) = demo("GET", "/subnets?ip_version=4&network_id=" + network["id"])[1]["subnets"]
    assert demo("PUT", f"/subnets/{four['id']}", {"subnet": {"enable_dhcp": False}})[0] == 200
    assert demo("GET", f"/ports?network_id={network['id']}")[1]["ports"] == []
    assert demo("PUT", f"/subnets/{four['id']}", {"subnet": {"enable_dhcp": True}})[0] == 200
    assert len(demo("GET", f"/ports?network_id={network['id']}")[1]["ports"]) == 1
    assert demo("DELETE", f"/networks/{network['id']}")[0] == 204
    assert demo("GET", f"/subnets?network_id={network['id']}")[1]["subnets"] == []


def test_in_use(demo: Caller) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    assert error(demo("DELETE", f"/networks/{network['id']}")) == (409, "NetworkInUse")
    assert error(demo("DELETE", f"/subnets/{_subnet(demo, network)}")) == (409, "SubnetInUse")
    (group,) = port["security_groups"]
    assert error(demo("DELETE", f"/security-groups/{group}")) == (409, "SecurityGroupCannotRemoveDefault")
    ip = port["fixed_ips"][0]["ip_address"]
    same = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": ip}]}}
    assert error(demo("POST", "/ports", same)) == (409, "IpAddressAlreadyAllocated")
    same = {"port": {"network_id": network["id"], "mac_address": port["mac_address"].upper()}}
    assert error(demo("POST", "/ports", same)) == (409, "MacAddressInUse")
    assert demo("DELETE", f"/ports/{port['id']}")[0] == 204
    assert demo("DELETE", f"/subnets/{_subnet(demo, network)}")[0] == 204


def test_slaac_subnet_addresses_ports_that_exist(demo: Caller) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"])
    subnet = demo.make("subnet", network_id=network["id"], cidr="fd00::/64", ip_version=6, ipv6_address_mode="slaac")
    addresses = demo("GET", f"/ports/{port['id']}")[1]["port"]["fixed_ips"]
    assert [one["subnet_id"] for one in addresses][1:] == [subnet["id"]]
    assert demo("DELETE", f"/subnets/{subnet['id']}")[0] == 204
    assert len(demo("GET", f"/ports/{port['id']}")[1]["port"]["fixed_ips"]) == 1


@pytest.mark.parametrize(
    ("noun", "values", "kind"),
    [
        ("network", {"nam": "x"}, "HTTPBadRequest"),
        ("network", {"name": 1}, "HTTPBadRequest"),
        ("network", {"status": "ACTIVE"}, "HTTPBadRequest"),
        ("network", {"mtu": 1500}, "InvalidInput"),
        ("subnet", {"cidr": "10.0.0.0/24", "ip_version": 4}, "HTTPBadRequest"),
        ("subnet", {"network_id": "N", "cidr": "10.0.0.0/33", "ip_version": 4}, "HTTPBadRequest"),
        ("subnet", {"network_id": "N", "cidr": "10.0.0.128/25", "ip_version": 4}, "InvalidInput"),
        ("subnet", {"network_id": "N", "cidr": "10.1.0.0/24", "ip_version": 6}, "InvalidInput"),
        (
            "subnet",
            {"network_id": "N", "cidr": "fd00::/80", "ip_version": 6, "ipv6_address_mode": "slaac"},
            "InvalidInput",
        ),
        ("port", {"network_id": "N", "fixed_ips": [{"ip_address": "10.9.0.1"}]}, "InvalidIpForNetwork"),
        ("port", {"network_id": "N", "mac_address": "zz"}, "HTTPBadRequest"),
        ("port", {"network_id": "N", "security_groups": ["g"]}, "SecurityGroupNotFound"),
        ("security_group", {"name": "default"}, "SecurityGroupDefaultAlreadyExists"),
    ],
)
def test_bad_input(demo: Caller, noun: str, values: dict[str, Any], kind: str) -> None:
    network = demo.network("10.0.0.0/24")
    if values.get("network_id"):
        values = values | {"network_id": network["id"]}
    status, body = demo("POST", f"/{noun.replace('_', '-')}s", {noun: values})
    assert body["NeutronError"]["type"] == kind
    assert status == {"SecurityGroupNotFound": 404, "SecurityGroupDefaultAlreadyExists": 409}.get(kind, 400)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"protocol": "tcp", "port_range_min": 90, "port_range_max": 80}, "SecurityGroupInvalidPortRange"),
        ({"port_range_min": 90, "port_range_max": 90}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 1}, "SecurityGroupMissingIcmpType"),
        (
            {"protocol": "vrrp", "port_range_min": 1, "port_range_max": 2},
            "SecurityGroupInvalidProtocolForPort",
        ),
        ({"protocol": "foo"}, "SecurityGroupRuleInvalidProtocol"),
        ({"remote_ip_prefix": "fd00::/8"}, "SecurityGroupRuleParameterConflict"),
        ({"direction": "sideways"}, "HTTPBadRequest"),
    ],
)
def test_bad_rules(demo: Caller, values: dict[str, Any], kind: str) -> None:
    group = demo.make("security_group", name="web")
    body = {"security_group_rule": {"security_group_id": group["id"], "direction": "ingress"} | values}
    assert error(demo("POST", "/security-group-rules", body)) == (400, kind)


def test_rules(demo: Caller, alt: Caller) -> None:
    group = demo.make("security_group", name="web")
    assert len(group["security_group_rules"]) == 2
    values = {
        "security_group_id": group["id"],
        "direction": "ingress",
        "protocol": "TCP",
        "port_range_min": "22",
        "port_range_max": 22,
        "remote_ip_prefix": "10.0.0.1/8",
    }
    rule = demo.make("security_group_rule", **values)
    assert (rule["protocol"], rule["port_range_min"], rule["normalized_cidr"]) == ("tcp", 22, "10.0.0.0/8")
    body = {"security_group_rule": values}
    assert error(demo("POST", "/security-group-rules", body)) == (409, "SecurityGroupRuleExists")
    assert error(alt("POST", "/security-group-rules", body)) == (404, "SecurityGroupNotFound")
    assert alt("DELETE", f"/security-group-rules/{rule['id']}")[0] == 404
    assert demo("GET", f"/security-groups/{group['id']}")[1]["security_group"]["revision_number"] == 2
    assert demo("DELETE", f"/security-group-rules/{rule['id']}")[0] == 204


def test_default_group(demo: Caller) -> None:
    (group,) = demo("GET", "/security-groups")[1]["security_groups"]
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]}
    assert rules == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", group["id"]),
        ("ingress", "IPv6", group["id"]),
    }
    rename = {"security_group": {"name": "x"}}
    assert error(demo("PUT", f"/security-groups/{group['id']}", rename)) == (
        409,
        "SecurityGroupCannotUpdateDefault",
    )


def test_quotas(admin: Caller, demo: Caller) -> None:
    path = f"/quotas/{demo.project_id}"
    assert error(demo("PUT", path, {"quota": {"network": 5}})) == (403, "PolicyNotAuthorized")
    assert admin("PUT", path, {"quota": {"network": 1, "port": 0}})[1]["quota"]["network"] == 1
    network = demo.network("10.0.0.0/24")
    status, body = demo("POST", "/networks", {"networks": [{}]})
    assert (status, body["NeutronError"]["message"]) == (409, "Quota exceeded for resources: ['network'].")
    assert error(demo("POST", "/ports", {"port": {"network_id": network["id"]}})) == (409, "OverQuota")
    assert demo("GET", f"{path}/details")[1]["quota"]["port"] == {"limit": 0, "used": 0, "reserved": 0}
    assert admin("DELETE", path)[0] == 204
    assert demo("GET", path)[1]["quota"]["network"] == 100
    assert demo("GET", f"/quotas/{admin.project_id}")[0] == 403


def test_limits_below_what_is_used(admin: Caller, demo: Caller) -> None:
    """quota-check-limit and quota-check-limit-default: only force sets a limit below what is used."""
    path = f"/quotas/{demo.project_id}"
    for _ in range(2):
        demo.make("network")
    for flags in ({}, {"check_limit": True}, {"force": False}, {"force": True, "check_limit": True}):
        status, body = admin("PUT", path, {"quota": {"network": 1, "port": 3, **flags}})
        assert (status, body["NeutronError"]["type"]) == (400, "HTTPBadRequest")
        assert body["NeutronError"]["message"] == (
            "Quota limit 1 for network must be greater than or equal to already used 2"
        )
    assert demo("GET", path)[1]["quota"] == demo("GET", f"{path}/default")[1]["quota"], "nothing was set"
    assert admin("PUT", path, {"quota": {"network": 2, "check_limit": True}})[1]["quota"]["network"] == 2
    assert admin("PUT", path, {"quota": {"network": -1, "check_limit": "true"}})[1]["quota"]["network"] == -1
    assert admin("PUT", path, {"quota": {"network": 1, "force": True}})[1]["quota"]["network"] == 1
    for wrong in ({"router": 5}, {"network": -2}, {"network": "x"}, {"check_limit": "perhaps"}):
        assert error(admin("PUT", path, {"quota": wrong}))[0] == 400
    unknown = admin("PUT", path, {"quota": {"router": 5}})[1]["NeutronError"]["message"]
    assert unknown == "Unrecognized attribute(s) 'router'"
    assert demo("GET", path)[1]["quota"]["network"] == 1


def test_quotas_of_all_projects(admin: Caller, demo: Caller) -> None:
    assert admin("GET", "/quotas")[1] == {"quotas": []}
    assert error(admin("DELETE", f"/quotas/{demo.project_id}")) == (404, "TenantQuotaNotFound")
    admin("PUT", f"/quotas/{demo.project_id}", {"quota": {"subnet": 7}})
    (only,) = admin("GET", "/quotas")[1]["quotas"]
    assert (only["project_id"], only["tenant_id"], only["subnet"]) == (demo.project_id, demo.project_id, 7)
    assert error(demo("GET", "/quotas")) == (403, "PolicyNotAuthorized")
    assert demo("GET", "/quotas/project")[1]["project"]["project_id"] == demo.project_id
    assert demo("GET", "/quotas/tenant")[1]["tenant"]["tenant_id"] == demo.project_id


def test_bulk_is_all_or_nothing(demo: Caller) -> None:
    body = {"networks": [{"name": "a"}, {"name": "b", "mtu": 9000}]}
    assert error(demo("POST", "/networks", body)) == (400, "InvalidInput")
    assert demo("GET", "/networks?name=a")[1]["networks"] == []
    made = demo("POST", "/networks", {"networks": [{"name": "a"}, {"name": "b"}]})[1]["networks"]
    assert [one["name"] for one in made] == ["a", "b"]


def test_pages(demo: Caller) -> None:
    for name in "dbca":
        demo.make("network", name=name)
    path = "/networks?router:external=False&sort_key=name&sort_dir=asc&limit=3"
    body = demo("GET", path)[1]
    assert [one["name"] for one in body["networks"]] == ["a", "b", "c"]
    assert [link["rel"] for link in body["networks_links"]] == ["next"]
    body = demo("GET", f"{path}&marker={body['networks'][-1]['id']}")[1]
    assert [one["name"] for one in body["networks"]] == ["d"]
    assert [link["rel"] for link in body["networks_links"]] == ["previous"]
    body = demo("GET", f"{path}&page_reverse=True&marker={body['networks'][0]['id']}&fields=name")[1]
    assert body["networks"] == [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    assert error(demo("GET", "/networks?color=red")) == (400, "HTTPBadRequest")
    assert error(demo("GET", "/networks?sort_key=color&sort_dir=asc")) == (400, "HTTPBadRequest")
    assert error(demo("GET", "/networks?sort=name:asc")) == (400, "HTTPBadRequest"), "it has no rules for its keys"


def test_filters(demo: Caller) -> None:
    network = demo.network("10.0.0.0/24")
    port = demo.make("port", network_id=network["id"], name="p", device_id="d")
    ip = port["fixed_ips"][0]["ip_address"]
    demo("PUT", f"/ports/{port['id']}/tags", {"tags": ["red", "blue"]})
    for query in (
        "name=p",
        "name=x&name=p",
        f"fixed_ips=ip_address={ip}",
        f"fixed_ips=ip_address_substr={ip[:-1]}&device_id=d",
        "tags=red,blue",
        "tags-any=red,green",
        "device_owner=&name=p",
        f"security_groups={port['security_groups'][0]}",
        f"mac_address={port['mac_address']}",
        "admin_state_up=true&name=p",
        "not-tags=green&name=p",
    ):
        found = demo("GET", f"/ports?{query}")[1]["ports"]
        assert [one["id"] for one in found] == [port["id"]], query
    for query in ("tags=red,green", "not-tags-any=blue&name=p", "changed_since=2999-01-01T00:00:00"):
        assert demo("GET", f"/ports?{query}")[1]["ports"] == [], query


def test_tags(demo: Caller) -> None:
    path = f"/networks/{demo.make('network')['id']}/tags"
    assert demo("PUT", f"{path}/a")[0] == 201
    assert demo("GET", f"{path}/a")[0] == 204
    assert demo("GET", f"{path}/b")[0] == 404
    assert demo("PUT", path, {"tags": ["c", "b"]}) == (200, {"tags": ["b", "c"]})
    assert error(demo("PUT", path, {"tags": ["x/y"]})) == (400, "HTTPBadRequest")
    assert demo("DELETE", f"{path}/b")[0] == 204
    assert demo("GET", path) == (200, {"tags": ["c"]})
    assert demo("DELETE", path)[0] == 204


@pytest.mark.parametrize("plural", ["networks", "subnets", "ports", "security-groups", "security-group-rules"])
def test_lists_take_a_constant_number_of_statements(demo: Caller, statements: Count, plural: str) -> None:
    network = demo.network("10.0.0.0/24")
    demo.make("port", network_id=network["id"])
    demo("GET", f"/{plural}")
    few = statements(lambda: demo("GET", f"/{plural}"))
    for n in range(4):
        demo.network(f"10.{n}.0.0/24")
        demo.make("port", network_id=network["id"])
        demo.make("security_group", name=f"g{n}")
    assert statements(lambda: demo("GET", f"/{plural}")) == few


def test_extensions(demo: Caller) -> None:
    aliases = {one["alias"] for one in demo("GET", "/extensions")[1]["extensions"]}
    assert {"security-group", "provider"} <= aliases and "router" not in aliases
    assert demo("GET", "/extensions/router")[0] == 404
    assert demo("GET", "/routers")[0] == 404


def test_subnets_of_external_networks(demo: Caller) -> None:
    demo.network("10.0.0.0/24")
    (external,) = demo("GET", "/subnets?router:external=True")[1]["subnets"]
    (own,) = demo("GET", "/subnets?router:external=False")[1]["subnets"]
    assert external["router:external"] is True and own["router:external"] is False
    assert demo("GET", "/subnets?router:external=perhaps")[0] == 400


def test_rules_name_what_is_wrong(demo: Caller) -> None:
    group = demo.make("security_group", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"}
    for values, expected in (
        ({"port_range_min": -16, "port_range_max": 80}, (400, "SecurityGroupInvalidPortValue")),
        ({"remote_group_id": "bad_group_id"}, (404, "SecurityGroupNotFound")),
        ({"security_group_id": "bad_group_id"}, (404, "SecurityGroupNotFound")),
    ):
        answer = demo("POST", "/security-group-rules", {"security_group_rule": rule | values})
        assert error(answer) == expected
