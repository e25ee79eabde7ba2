"""Flavors, their extra specs and access."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.compute import extra_specs
from pileus.errors import Invalid
from tests.client import Client
from tests.unit.nouns import Nouns

SMALL = {"name": "small", "ram": 64, "vcpus": 1, "disk": 0}


def make(admin: Client, version: str = "", **others: Any) -> dict[str, Any]:
    made = admin.ok("POST", "/flavors", version=version, json={"flavor": {**SMALL, **others}})
    flavor: dict[str, Any] = made["flavor"]
    return flavor


def ids(api: Client, query: str = "", version: str = "") -> list[str]:
    return [flavor["id"] for flavor in api.ok("GET", f"/flavors{query}", version=version)["flavors"]]


def test_stock_flavors(demo: Client) -> None:
    flavors = {one["name"]: one for one in demo.ok("GET", "/flavors/detail")["flavors"]}
    assert len(flavors) == 12
    nano = flavors["m1.nano"]
    assert (nano["id"], nano["ram"], nano["vcpus"], nano["disk"]) == ("42", 192, 1, 1)


def test_a_name_is_not_an_id(demo: Client) -> None:
    answer = demo("GET", "/flavors/m1.nano", version="2.1")
    assert answer.status_code == 404
    message = "Flavor m1.nano could not be found."
    assert answer.json == {"itemNotFound": {"code": 404, "message": message}}


def test_what_versions_show(demo: Client) -> None:
    first, last = (demo.ok("GET", "/flavors/1", version=version)["flavor"] for version in ("2.1", "2.104"))
    assert first["swap"] == "" and last["swap"] == 0
    assert first["rxtx_factor"] == 1.0 and "rxtx_factor" not in last
    assert first["OS-FLV-DISABLED:disabled"] is False and "OS-FLV-DISABLED:disabled" not in last
    assert "description" not in first and last["description"] is None
    assert "extra_specs" not in first and last["extra_specs"] == {}
    assert [link["rel"] for link in last["links"]] == ["self", "bookmark"]
    assert "extra_specs" not in demo.ok("GET", "/flavors/1", version="2.60")["flavor"]


def test_filters_and_order(demo: Client) -> None:
    assert ids(demo, "?minRam=8000") == ["4", "5"]
    assert ids(demo, "?minDisk=100") == ["5"]
    assert ids(demo, "?sort_key=memory_mb&sort_dir=desc&limit=2") == ["5", "4"]
    assert ids(demo, "?sort_dir=desc&limit=1") == ["d4"]
    assert ids(demo, "?sort_key=memory_mb&limit=1") == ["42"]
    assert ids(demo, "?name=m1.nano") == ["42"] and len(ids(demo, "?name=m1.nano", "2.74")) == 12
    assert ids(demo, f"?minRam={10**15}") == []
    refused = demo("GET", "/flavors?minRam=much")
    assert (refused.status_code, refused.json["badRequest"]["message"]) == (400, "Invalid minRam filter [much]")
    assert demo("GET", "/flavors?sort_key=nope").status_code == 400
    assert demo("GET", "/flavors?marker=nope").status_code == 400


def test_unknown_parameters_are_refused_from_2_75_on(demo: Client) -> None:
    assert demo("GET", "/flavors?nope=1", version="2.74").status_code == 200
    assert demo("GET", "/flavors?nope=1", version="2.75").status_code == 400
    assert demo("GET", "/flavors/1?nope=1", version="2.101").status_code == 200
    assert demo("GET", "/flavors/1?nope=1", version="2.102").status_code == 400


def test_pages_reach_every_flavor(demo: Client) -> None:
    found: list[str] = []
    path: str | None = "/flavors?limit=5"
    while path:
        page = demo.ok("GET", path)
        found += [flavor["id"] for flavor in page["flavors"]]
        links = page.get("flavors_links", [])
        path = links[0]["href"].partition("/compute/v2.1")[2] if links else None
    assert sorted(found) == ids(demo)


def test_create_update_delete(admin: Client) -> None:
    flavor = make(admin, id="7", swap=5, description="for tests")
    assert (flavor["id"], flavor["swap"], flavor["description"]) == ("7", 5, "for tests")
    changed = admin.ok("PUT", "/flavors/7", json={"flavor": {"description": None}})
    assert changed["flavor"]["description"] is None
    assert admin("PUT", "/flavors/7", version="2.54", json={"flavor": {"description": None}}).status_code == 404
    assert admin("DELETE", "/flavors/7").status_code == 202
    assert admin("DELETE", "/flavors/7").status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ram": 0}, "flavor.ram"),
        ({"vcpus": "x"}, "flavor.vcpus"),
        ({"disk": -1}, "flavor.disk"),
        ({"name": " x"}, "flavor.name"),
        ({"name": "x\x00"}, "flavor.name"),
        ({"id": "a/b"}, "flavor.id"),
        ({"rxtx_factor": 1.0}, "rxtx_factor"),
        ({"nope": 1}, "nope"),
    ],
)
def test_create_names_the_wrong_field(admin: Client, change: dict[str, Any], field: str) -> None:
    answer = admin("POST", "/flavors", json={"flavor": {**SMALL, **change}})
    assert answer.status_code == 400
    assert field in answer.json["badRequest"]["message"]


def test_names_and_ids_are_unique(admin: Client) -> None:
    make(admin, id="7")
    assert admin("POST", "/flavors", json={"flavor": {**SMALL, "id": "8"}}).status_code == 409
    other = {**SMALL, "name": "other", "id": "7"}
    assert admin("POST", "/flavors", json={"flavor": other}).status_code == 409


def test_only_administrators_make_flavors(demo: Client) -> None:
    answer = demo("POST", "/flavors", json={"flavor": SMALL})
    assert answer.status_code == 403
    assert "os_compute_api:os-flavor-manage:create" in answer.json["forbidden"]["message"]


def test_access(nouns: Nouns, admin: Client, demo: Client) -> None:
    flavor = make(admin, **{"os-flavor-access:is_public": False})
    own, action = f"/flavors/{flavor['id']}", f"/flavors/{flavor['id']}/action"
    body = {"tenant": nouns.project_id("demo")}
    assert demo("GET", own).status_code == 404
    assert flavor["id"] in ids(admin, "?is_public=none") and flavor["id"] not in ids(demo, "?is_public=none")
    assert ids(admin, "?is_public=False") == [flavor["id"]] and flavor["id"] not in ids(admin)
    assert admin("GET", "/flavors?is_public=perhaps").status_code == 400
    assert demo("GET", f"/flavors?marker={flavor['id']}").status_code == 400
    shared = admin.ok("POST", action, json={"addTenantAccess": body})
    assert shared["flavor_access"] == [{"flavor_id": flavor["id"], "tenant_id": body["tenant"]}]
    assert admin("POST", action, json={"addTenantAccess": body}).status_code == 409
    assert demo("GET", own).status_code == 200 and flavor["id"] in ids(demo)
    assert admin.ok("GET", f"{own}/os-flavor-access") == shared
    assert demo("GET", f"{own}/os-flavor-access").status_code == 403
    assert admin.ok("POST", action, json={"removeTenantAccess": body}) == {"flavor_access": []}
    assert admin("POST", action, json={"removeTenantAccess": body}).status_code == 404
    assert demo("GET", own).status_code == 404
    assert admin("POST", action, json={"addTenantAccess": {"tenant": "nope"}}).status_code == 400


def test_public_flavors_have_no_access_list(nouns: Nouns, admin: Client) -> None:
    body = {"addTenantAccess": {"tenant": nouns.project_id("demo")}}
    assert admin("GET", "/flavors/1/os-flavor-access").status_code == 404
    assert admin("POST", "/flavors/1/action", json=body).status_code == 409
    assert admin("POST", "/flavors/1/action", version="2.6", json=body).status_code == 200


def test_extra_specs(admin: Client, demo: Client) -> None:
    specs = {"hw:cpu_policy": "shared", "mine": 1}
    assert admin.ok("POST", "/flavors/1/os-extra_specs", json={"extra_specs": specs}) == {"extra_specs": specs}
    assert demo.ok("GET", "/flavors/1/os-extra_specs/mine") == {"mine": "1"}
    assert admin.ok("PUT", "/flavors/1/os-extra_specs/mine", json={"mine": "2"}) == {"mine": "2"}
    assert admin("PUT", "/flavors/1/os-extra_specs/mine", json={"other": "2"}).status_code == 400
    assert demo.ok("GET", "/flavors/1")["flavor"]["extra_specs"] == {"hw:cpu_policy": "shared", "mine": "2"}
    assert admin("DELETE", "/flavors/1/os-extra_specs/mine").status_code == 200
    assert admin("DELETE", "/flavors/1/os-extra_specs/mine").status_code == 404
    assert demo("POST", "/flavors/1/os-extra_specs", json={"extra_specs": specs}).status_code == 403


def test_known_extra_specs_are_checked_from_2_86_on(admin: Client) -> None:
    body = {"extra_specs": {"hw:cpu_policy": "nope"}}
    assert admin("POST", "/flavors/1/os-extra_specs", version="2.85", json=body).status_code == 200
    assert admin("POST", "/flavors/1/os-extra_specs", version="2.86", json=body).status_code == 400


@pytest.mark.parametrize(
    "spec",
    [
        "hw:nope=1",
        "hw:numa_nodes=0",
        "hw:redirected_usb_ports=16",
        "hw:boot_menu=perhaps",
        "hw:cpu_realtime_mask=a",
        "quota:cpu_shares=x",
        "trait:NOPE=required",
        "trait:HW_CPU_X86_AVX=wanted",
        "resources:NOPE=1",
    ],
)
def test_wrong_extra_specs(spec: str) -> None:
    name, _, value = spec.partition("=")
    with pytest.raises(Invalid, match="Validation failed"):
        extra_specs.check(name, value)


@pytest.mark.parametrize(
    "spec",
    [
        "free=anything",
        "other:name=1",
        "hw:numa_cpus.0=0-3,^2",
        "hw:boot_menu=yes",
        "quota:vif_inbound_peak=3",
        "trait1:CUSTOM_A=required",
        "trait:HW_CPU_X86_AVX=forbidden",
        "resources:VCPU=0",
        "capabilities:cpu_info:arch=x86_64",
    ],
)
def test_right_extra_specs(spec: str) -> None:
    name, _, value = spec.partition("=")
    extra_specs.check(name, value)
