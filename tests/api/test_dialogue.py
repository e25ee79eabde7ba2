"""The dialogue of `openstack server create --debug`: every exchange, in structure as in the log of 2021."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.api.compute import User
from tests.client import login
from tests.support import CloudUnderTest

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
CATALOG = {
    "compute": "/compute/v2.1",
    "compute_legacy": "/compute/v2/{project}",
    "image": "/image",
    "network": "/network",
    "identity": "/identity",
    "placement": "/placement",
}
SERVER = {
    "id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated",
    "addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "OS-EXT-AZ:availability_zone",
    "config_drive", "key_name", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "OS-EXT-SRV-ATTR:host",
    "OS-EXT-SRV-ATTR:instance_name", "OS-EXT-SRV-ATTR:hypervisor_hostname", "OS-EXT-STS:task_state",
    "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state", "os-extended-volumes:volumes_attached",
}  # fmt: skip
FLAVOR = {
    "id", "name", "ram", "disk", "swap", "OS-FLV-EXT-DATA:ephemeral", "OS-FLV-DISABLED:disabled", "vcpus",
    "os-flavor-access:is_public", "rxtx_factor", "links",
}  # fmt: skip
IMAGE = {
    "name", "disk_format", "container_format", "visibility", "size", "virtual_size", "status", "checksum", "protected",
    "min_ram", "min_disk", "owner", "os_hidden", "os_hash_algo", "os_hash_value", "id", "created_at", "updated_at",
    "tags", "self", "file", "schema",
}  # fmt: skip
NETWORK = {
    "id", "name", "tenant_id", "admin_state_up", "mtu", "status", "subnets", "shared", "availability_zone_hints",
    "availability_zones", "ipv4_address_scope", "ipv6_address_scope", "router:external", "description",
    "port_security_enabled", "tags", "created_at", "updated_at", "revision_number", "project_id",
}  # fmt: skip


class Exchange:
    """One request and response of the client's debug log."""

    def __init__(self, method: str, url: str, status: int, headers: str, body: str) -> None:
        self.method, self.url, self.status, self.headers = method, url, status, headers
        self.body = json.loads(body) if body.startswith(("{", "[")) else None


@pytest.fixture(scope="module")
def dialogue(
    cloud: CloudUnderTest, openstack: Callable[..., Any], owner_session: User, image: str, network: str
) -> list[Exchange]:
    """What the real client says and hears."""
    text = openstack(
        "--debug", "server", "create", "--image", "zeroes", "--flavor", "m1.tiny", "--network", "net", "dialogue",
        project="demo", parse=False,
    )  # fmt: skip
    owner_session.clear()
    pattern = r'REQ: curl -g -i -X (\w+) "?(http[^\s"]+)"?.*?\nRESP: \[(\d+)\] ([^\n]*)\n(?:RESP BODY: ([^\n]*))?'
    found = re.findall(pattern, re.sub(r"\n(?!REQ|RESP)[^\n]*", "", text), re.S)
    root = f"http://127.0.0.1:{cloud.port}"
    return [Exchange(m, url.removeprefix(root), int(status), headers, body) for m, url, status, headers, body in found]


def test_the_clients_exchanges_are_those_of_the_list(dialogue: list[Exchange], image: str) -> None:
    said = [(one.method, one.url, one.status) for one in dialogue]
    created = next(one for one in dialogue if one.method == "POST")
    server_id = created.body["server"]["id"]
    expected = [
        ("GET", "/identity", 300),
        ("GET", "/image", 300),
        ("GET", "/image/v2/images/zeroes", 404),
        ("GET", "/image/v2/images?name=zeroes", 200),
        ("GET", "/compute/v2.1/flavors/m1.tiny", 404),
        ("GET", "/network/v2.0/networks/net", 404),
        ("GET", "/network/v2.0/networks?name=net", 200),
        ("POST", "/compute/v2.1/servers", 202),
        ("GET", f"/compute/v2.1/servers/{server_id}", 200),
        ("GET", f"/image/v2/images/{image}", 200),
    ]
    assert [one for one in said if one in expected] == expected
    assert all(status < 400 or status == 404 for _, _, status in said)
    assert set(created.body["server"]) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    shown = next(one for one in dialogue if one.url.endswith(server_id) and one.method == "GET")
    assert shown.body["server"]["status"] in ("BUILD", "ACTIVE")


# --- the exchanges of the log of 2021, at the versions it used --------------------------------------------------


def plain(url: str, method: str = "GET", **options: Any) -> requests.Response:
    return requests.request(method, url, timeout=60, **options)


def request_id(answer: requests.Response, header: str = "x-openstack-request-id") -> str:
    found = answer.headers[header]
    assert re.fullmatch(f"req-{UUID}", found)
    return found


def test_identity_root(nobody: User) -> None:
    answer = plain(f"{nobody.root}/identity", headers={"Accept": "application/json"})
    assert answer.status_code == 300 and answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Location"] == f"{nobody.root}/identity/v3/"
    request_id(answer)
    (version,) = answer.json()["versions"]["values"]
    assert version == {
        "id": version["id"],
        "status": "stable",
        "updated": version["updated"],
        "links": [{"rel": "self", "href": f"{nobody.root}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }
    assert re.fullmatch(r"v3\.\d+", version["id"])


def test_token_and_catalog(cloud: CloudUnderTest, nobody: User) -> None:
    password = cloud.credentials("demo")["OS_PASSWORD"]
    answer = plain(f"{nobody.root}/identity/v3/auth/tokens", "POST", json=login("demo", password, "demo"))
    assert answer.status_code == 201 and answer.headers["X-Subject-Token"]
    request_id(answer)
    token = answer.json()["token"]
    assert {
        "methods", "user", "audit_ids", "expires_at", "issued_at", "project", "is_domain", "roles", "catalog"
    } <= set(token)  # fmt: skip
    assert set(token["user"]) == {"domain", "id", "name", "password_expires_at"}
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", token["expires_at"])
    catalog = {service["type"]: service for service in token["catalog"]}
    for kind, path in CATALOG.items():
        public = [one for one in catalog[kind]["endpoints"] if one["interface"] == "public"]
        assert len(public) == 1, kind
        assert set(public[0]) == {"id", "interface", "region_id", "url", "region"}
        assert public[0]["url"] == nobody.root + path.format(project=token["project"]["id"]), kind
        assert public[0]["region"] == public[0]["region_id"] == "RegionOne"


def test_image_root(nobody: User) -> None:
    answer = plain(f"{nobody.root}/image")
    assert answer.status_code == 300
    versions = answer.json()["versions"]
    assert [one["status"] for one in versions] == ["CURRENT", *["SUPPORTED"] * (len(versions) - 1)]
    assert {one["links"][0]["href"] for one in versions} == {f"{nobody.root}/image/v2/"}
    assert {"v2.9", "v2.0"} <= {one["id"] for one in versions}


def test_image_by_name_then_by_filter_then_its_schema(owner: User, image: str) -> None:
    missing = owner("GET", "/image/v2/images/zeroes")
    assert missing.status_code == 404
    request_id(missing)
    found = owner("GET", "/image/v2/images?name=zeroes").json()
    assert (found["first"], found["schema"]) == ("/v2/images?name=zeroes", "/v2/schemas/images")
    (one,) = found["images"]
    assert set(one) >= IMAGE and (one["id"], one["self"]) == (image, f"/v2/images/{image}")
    assert (one["file"], one["schema"]) == (f"/v2/images/{image}/file", "/v2/schemas/image")
    assert owner("GET", f"/image/v2/images/{image}").json() == one
    schema = owner("GET", "/image/v2/schemas/image").json()
    assert schema["name"] == "image" and set(schema["properties"]) >= IMAGE


def check_compute_headers(answer: requests.Response) -> None:
    assert answer.headers["OpenStack-API-Version"] == "compute 2.1"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.1"
    vary = {name.strip() for name in answer.headers["Vary"].split(",")}
    assert vary == {"OpenStack-API-Version", "X-OpenStack-Nova-API-Version"}
    assert request_id(answer, "x-compute-request-id") == request_id(answer)


def legacy(user: User, method: str, path: str, body: Any = None) -> requests.Response:
    """As python-novaclient spoke in 2021."""
    answer: requests.Response = user(method, path, body, headers={"X-OpenStack-Nova-API-Version": "2.1"})
    check_compute_headers(answer)
    return answer


def test_flavor_by_name_then_the_list_then_by_id(owner: User) -> None:
    missing = legacy(owner, "GET", "/flavors/m1.tiny")
    assert missing.status_code == 404
    assert missing.json() == {"itemNotFound": {"code": 404, "message": "Flavor m1.tiny could not be found."}}
    flavors = legacy(owner, "GET", "/flavors").json()["flavors"]
    stock = {"m1.tiny", "m1.small", "m1.medium", "m1.large", "m1.nano", "m1.xlarge", "m1.micro", "cirros256"}
    assert stock | {"ds512M", "ds1G", "ds2G", "ds4G"} <= {one["name"] for one in flavors}
    tiny = next(one for one in flavors if one["name"] == "m1.tiny")
    links = [
        {"rel": "self", "href": f"{owner.root}/compute/v2.1/flavors/1"},
        {"rel": "bookmark", "href": f"{owner.root}/compute/flavors/1"},
    ]
    assert tiny == {"id": "1", "name": "m1.tiny", "links": links}
    shown = legacy(owner, "GET", "/flavors/1").json()["flavor"]
    assert set(shown) == FLAVOR
    assert shown == {
        "id": "1", "name": "m1.tiny", "ram": 512, "disk": 1, "swap": "", "OS-FLV-EXT-DATA:ephemeral": 0,
        "OS-FLV-DISABLED:disabled": False, "vcpus": 1, "os-flavor-access:is_public": True, "rxtx_factor": 1.0,
        "links": links,
    }  # fmt: skip


def test_network_by_name_then_by_filter(owner: User, network: str) -> None:
    missing = owner("GET", "/network/v2.0/networks/net")
    assert missing.status_code == 404
    request_id(missing)
    message = "Network net could not be found."
    assert missing.json() == {"NeutronError": {"type": "NetworkNotFound", "message": message, "detail": ""}}
    (found,) = owner("GET", "/network/v2.0/networks?name=net").json()["networks"]
    assert set(found) >= NETWORK and found["id"] == network


def test_create_and_show(root_user: User, image: str) -> None:
    """As the administrator, on the network public: that is what the log shows."""
    (public,) = root_user("GET", "/network/v2.0/networks?name=public").json()["networks"]
    body = {
        "name": "test-2", "imageRef": image, "flavorRef": "1", "min_count": 1, "max_count": 1,
        "networks": [{"uuid": public["id"]}],
    }  # fmt: skip
    answer = legacy(root_user, "POST", "/servers", {"server": body})
    assert answer.status_code == 202
    made = answer.json()["server"]
    self_link = f"{root_user.root}/compute/v2.1/servers/{made['id']}"
    assert made == {
        "id": made["id"],
        "links": [
            {"rel": "self", "href": self_link},
            {"rel": "bookmark", "href": f"{root_user.root}/compute/servers/{made['id']}"},
        ],
        "OS-DCF:diskConfig": "MANUAL",
        "security_groups": [{"name": "default"}],
        "adminPass": made["adminPass"],
    }
    assert re.fullmatch(UUID, made["id"]) and re.fullmatch("[A-Za-z0-9]{12}", made["adminPass"])
    assert answer.headers["location"] == self_link
    shown = legacy(root_user, "GET", f"/servers/{made['id']}").json()["server"]
    assert set(shown) - {"security_groups"} == SERVER
    assert shown["image"]["links"] == [{"rel": "bookmark", "href": f"{root_user.root}/compute/images/{image}"}]
    assert shown["flavor"] == {"id": "1", "links": [{"rel": "bookmark", "href": f"{root_user.root}/compute/flavors/1"}]}
    root_user.delete(made["id"])
