"""The placement API: what reads."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.errors import Invalid
from pileus.placement import requests
from pileus.placement.versions import HISTORY
from tests.client import Client
from tests.unit.nouns import TRAITS, Nouns

UNKNOWN = "00000000-0000-0000-0000-000000000000"


def names(api: Client, query: str, version: str = "") -> list[str]:
    found = api.ok("GET", f"/resource_providers{query}", version=version)["resource_providers"]
    return [one["name"] for one in found]


def error(api: Client, path: str, version: str = "", status: int = 400) -> dict[str, Any]:
    answer = api("GET", path, version=version)
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json["errors"][0]
    return shown


def test_history_and_version_document(nouns: Nouns) -> None:
    assert [version.number for version in HISTORY.versions] == [(1, minor) for minor in range(40)]
    version = nouns.serving.client.simulate_get("/placement/").json["versions"][0]
    assert (version["id"], version["min_version"], version["max_version"]) == ("v1.0", "1.0", "1.39")


def test_provider_by_version(nouns: Nouns, admin: Client) -> None:
    path = f"/resource_providers/{nouns.provider_id}"
    rels = {
        version: [link["rel"] for link in admin.ok("GET", path, version=version)["links"]]
        for version in ("1.0", "1.1", "1.6", "1.11")
    }
    assert rels["1.0"] == ["self", "inventories", "usages"]
    assert rels["1.11"] == [*rels["1.0"], "aggregates", "traits", "allocations"]
    assert rels["1.1"] == rels["1.11"][:4] and rels["1.6"] == rels["1.11"][:5]
    assert "root_provider_uuid" not in admin.ok("GET", path, version="1.13")
    shown = admin.ok("GET", path, version="1.14")
    assert (shown["root_provider_uuid"], shown["parent_provider_uuid"]) == (nouns.provider_id, None)
    assert (shown["name"], shown["generation"]) == ("down", 2)


def test_headers_from_1_15_on(admin: Client) -> None:
    before, after = (admin("GET", "/resource_providers", version=version) for version in ("1.14", "1.15"))
    assert "Last-Modified" not in before.headers
    assert after.headers["Cache-Control"] == "no-cache" and after.headers["Last-Modified"].endswith(" GMT")
    assert after.headers["OpenStack-API-Version"] == "placement 1.15"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["down", "up"]),
        ("?name=up", ["up"]),
        ("?resources=VCPU:8", ["down", "up"]),
        ("?resources=VCPU:9", []),
        ("?resources=DISK_GB:100", ["down", "up"]),
        ("?resources=MEMORY_MB:14464", ["down", "up"]),
        ("?resources=MEMORY_MB:14465,VCPU:1", ["up"]),
        ("?name=up&required=!CUSTOM_FAST", []),
        ("?resources=MEMORY_MB:15000", ["up"]),
        ("?required=CUSTOM_FAST", ["up"]),
        ("?required=COMPUTE_NODE,!CUSTOM_FAST", ["down"]),
        ("?required=in:CUSTOM_FAST,HW_CPU_X86_AVX2", ["down", "up"]),
        ("?required=in:CUSTOM_FAST,HW_CPU_X86_AVX2&required=!CUSTOM_FAST", ["down"]),
        (f"?member_of={UNKNOWN}", []),
        (f"?member_of=!{UNKNOWN}", ["down", "up"]),
        (f"?in_tree={UNKNOWN}", []),
    ],
)
def test_provider_filters(admin: Client, query: str, found: list[str]) -> None:
    assert names(admin, query) == found


@pytest.mark.parametrize(
    ("query", "since"),
    [
        ("member_of=" + UNKNOWN, "1.3"),
        ("resources=VCPU:1", "1.4"),
        ("in_tree=" + UNKNOWN, "1.14"),
        ("required=COMPUTE_NODE", "1.18"),
        ("required=!COMPUTE_NODE", "1.22"),
        (f"member_of=!{UNKNOWN}", "1.32"),
        ("required=in:COMPUTE_NODE", "1.39"),
    ],
)
def test_filters_come_with_their_version(admin: Client, query: str, since: str) -> None:
    minor = int(since.partition(".")[2])
    assert admin("GET", f"/resource_providers?{query}", version=since).status_code == 200
    assert admin("GET", f"/resource_providers?{query}", version=f"1.{minor - 1}").status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "nope=1",
        "uuid=nope",
        "resources=NOPE:1",
        "resources=VCPU",
        "resources=VCPU:0",
        "resources=VCPU:x",
        "resources=VCPU:" + "9" * 5000,
        "resources=",
        "required=NOPE",
        "required=,",
        "required=in:!A",
        "member_of=nope",
        f"member_of={UNKNOWN},{UNKNOWN}",
    ],
)
def test_wrong_filters(admin: Client, query: str) -> None:
    assert error(admin, f"/resource_providers?{query}")["detail"]


def test_inventories(nouns: Nouns, admin: Client) -> None:
    path = f"/resource_providers/{nouns.provider_id}/inventories"
    body = admin.ok("GET", path)
    assert body["inventories"].keys() == {"VCPU", "MEMORY_MB", "DISK_GB"}
    vcpu = {"total": 8, "reserved": 0, "min_unit": 1, "max_unit": 8, "step_size": 1, "allocation_ratio": 4.0}
    assert body["inventories"]["VCPU"] == vcpu
    assert admin.ok("GET", f"{path}/VCPU") == vcpu | {"resource_provider_generation": 2}
    assert error(admin, f"{path}/VGPU", status=404)


def test_usages_and_allocations(nouns: Nouns, admin: Client) -> None:
    provider = f"/resource_providers/{nouns.provider_id}"
    used = admin.ok("GET", f"{provider}/usages")["usages"]
    assert used == {"VCPU": 2, "MEMORY_MB": 1024, "DISK_GB": 0}
    resources = {"VCPU": 2, "MEMORY_MB": 1024}
    held = admin.ok("GET", f"{provider}/allocations")["allocations"]
    assert held == {nouns.consumer_id: {"resources": resources, "consumer_generation": 1}}
    path = f"/allocations/{nouns.consumer_id}"
    first = {"allocations": {nouns.provider_id: {"resources": resources, "generation": 2}}}
    assert admin.ok("GET", path, version="1.11") == first
    second = first | {"project_id": "p", "user_id": "u"}
    assert admin.ok("GET", path, version="1.12") == second
    assert admin.ok("GET", path, version="1.28") == second | {"consumer_generation": 1}
    assert admin.ok("GET", path)["consumer_type"] == "INSTANCE"
    assert admin.ok("GET", f"/allocations/{UNKNOWN}") == {"allocations": {}}


def test_aggregates_and_traits_of_a_provider(nouns: Nouns, admin: Client) -> None:
    provider = f"/resource_providers/{nouns.provider_id}"
    assert admin.ok("GET", f"{provider}/aggregates", version="1.18") == {"aggregates": []}
    shown = admin.ok("GET", f"{provider}/aggregates", version="1.19")
    assert shown == {"aggregates": [], "resource_provider_generation": 2}
    assert admin.ok("GET", f"{provider}/traits")["traits"] == list(TRAITS)
    assert error(admin, f"{provider}/traits", "1.5", 404)


def test_usages_of_a_project(nouns: Nouns, admin: Client, demo: Client) -> None:
    assert admin.ok("GET", "/usages?project_id=p", version="1.37")["usages"] == {"VCPU": 2, "MEMORY_MB": 1024}
    grouped = {"consumer_count": 1, "VCPU": 2, "MEMORY_MB": 1024}
    assert admin.ok("GET", "/usages?project_id=p")["usages"] == {"INSTANCE": grouped}
    assert admin.ok("GET", "/usages?project_id=p&consumer_type=all")["usages"] == {"all": grouped}
    assert admin.ok("GET", "/usages?project_id=p&consumer_type=OTHER")["usages"] == {}
    assert admin.ok("GET", "/usages?project_id=p&user_id=other")["usages"] == {}
    assert demo.ok("GET", f"/usages?project_id={nouns.project_id('demo')}")["usages"] == {}
    assert error(demo, "/usages?project_id=p", status=403)
    assert error(admin, "/usages")
    assert error(admin, "/usages?project_id=p", "1.8", 404)


def test_traits(admin: Client) -> None:
    every = admin.ok("GET", "/traits")["traits"]
    assert {"CUSTOM_FAST", "HW_CPU_X86_VMX"} < set(every) and every == sorted(every)
    assert admin.ok("GET", "/traits?associated=true")["traits"] == sorted([*TRAITS, "CUSTOM_FAST"])
    assert admin.ok("GET", "/traits?name=startswith:CUSTOM_")["traits"] == ["CUSTOM_FAST"]
    assert admin.ok("GET", "/traits?name=in:CUSTOM_FAST,NOPE")["traits"] == ["CUSTOM_FAST"]
    assert admin("GET", "/traits/CUSTOM_FAST").status_code == 204
    assert error(admin, "/traits/CUSTOM_NOPE", status=404)
    assert error(admin, "/traits?name=nope") and error(admin, "/traits?associated=perhaps")


def test_resource_classes(admin: Client) -> None:
    found = [one["name"] for one in admin.ok("GET", "/resource_classes")["resource_classes"]]
    assert found[:3] == ["VCPU", "MEMORY_MB", "DISK_GB"]
    shown = admin.ok("GET", "/resource_classes/VCPU")
    assert shown["links"] == [{"rel": "self", "href": "/placement/resource_classes/VCPU"}]
    assert error(admin, "/resource_classes/NOPE", status=404)
    assert error(admin, "/resource_classes", "1.1", 404)


def test_candidates_by_version(nouns: Nouns, admin: Client) -> None:
    path = "/allocation_candidates?resources=VCPU:1,MEMORY_MB:64"
    old, middle, new = (admin.ok("GET", path, version=version) for version in ("1.10", "1.12", "1.39"))
    wanted = {"VCPU": 1, "MEMORY_MB": 64}
    listed = {"resource_provider": {"uuid": nouns.provider_id}, "resources": wanted}
    assert old["allocation_requests"][0] == {"allocations": [listed]}
    keyed = {"allocations": {nouns.provider_id: {"resources": wanted}}}
    assert middle["allocation_requests"][0] == keyed
    assert new["allocation_requests"][0] == keyed | {"mappings": {"": [nouns.provider_id]}}
    assert old["provider_summaries"][nouns.provider_id].keys() == {"resources"}
    assert old["provider_summaries"][nouns.provider_id]["resources"].keys() == wanted.keys()
    summary = new["provider_summaries"][nouns.provider_id]
    assert summary["resources"]["VCPU"] == {"capacity": 32, "used": 2}
    assert summary["resources"].keys() == {"VCPU", "MEMORY_MB", "DISK_GB"}
    assert summary["traits"] == list(TRAITS) and summary["root_provider_uuid"] == nouns.provider_id
    assert error(admin, path, "1.9", 404)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("resources=VCPU:1", 2),
        ("resources=VCPU:1&limit=1", 1),
        ("resources=VCPU:1&required=CUSTOM_FAST", 1),
        ("resources=VCPU:1&root_required=!CUSTOM_FAST", 1),
        ("resources=DISK_GB:101", 0),
        ("&".join(f"resources{n}=DISK_GB:{10**18 - 1}" for n in range(1, 20)) + "&group_policy=none", 0),
        ("resources=MEMORY_MB:15000", 1),
        ("resources=VCPU:1&resources1=DISK_GB:1", 2),
        ("resources_A=VCPU:1&resources_B=DISK_GB:1&group_policy=none", 2),
        ("resources_A=VCPU:1&resources_B=DISK_GB:1&group_policy=isolate", 0),
        ("resources_A=DISK_GB:60&resources_B=DISK_GB:60&group_policy=none", 0),
        ("resources_A=VCPU:1&required_A=CUSTOM_FAST", 1),
        (f"resources=VCPU:1&in_tree={UNKNOWN}", 0),
        (f"resources=VCPU:1&member_of={UNKNOWN}", 0),
    ],
)
def test_candidates(admin: Client, query: str, count: int) -> None:
    found = admin.ok("GET", f"/allocation_candidates?{query}")
    assert len(found["allocation_requests"]) == len(found["provider_summaries"]) == count


@pytest.mark.parametrize(
    "query",
    [
        "",
        "resources=",
        "resources=NOPE:1",
        "resources=VCPU:1&required=NOPE",
        "resources=VCPU:1&limit=0",
        "nope=1",
        "required=COMPUTE_NODE",
        "resources_A=VCPU:1&resources_B=VCPU:1",
        "resources=VCPU:1&in_tree=nope",
        "resources=VCPU:1&limit=" + "9" * 5000,
    ],
)
def test_wrong_candidates(admin: Client, query: str) -> None:
    assert error(admin, f"/allocation_candidates?{query}")["detail"]


def test_errors(nouns: Nouns, admin: Client, demo: Client) -> None:
    shown = error(admin, f"/resource_providers/{UNKNOWN}", "1.22", 404)
    assert shown.keys() == {"status", "title", "detail", "request_id"}
    assert error(admin, f"/resource_providers/{UNKNOWN}", "1.23", 404)["code"] == "placement.undefined_code"
    for path in ("", f"/{nouns.provider_id}", f"/{UNKNOWN}", f"/{UNKNOWN}/traits", f"/{UNKNOWN}/inventories/VCPU"):
        assert error(demo, f"/resource_providers{path}", status=403)["title"] == "Forbidden"
    assert error(admin, f"/resource_providers/{UNKNOWN}/inventories/VCPU", status=404)["detail"]
    newer = error(admin, "/resource_providers", "1.40", 406)
    assert (newer["min_version"], newer["max_version"]) == ("1.0", "1.39")
    assert nouns.serving.client.simulate_get("/placement/resource_providers").status_code == 401
    for method in ("POST", "PUT", "DELETE"):
        assert admin(method, "/resource_providers", json={}).status_code == 405


def test_requests_know_no_http() -> None:
    assert requests.resources("VCPU:2,MEMORY_MB:1024") == {"VCPU": 2, "MEMORY_MB": 1024}
    traits = requests.traits(["A,!B", "in:C,D"], may_forbid=True, may_choose=True)
    assert traits.required == (frozenset("A"), frozenset("CD")) and traits.forbidden == frozenset("B")
    with pytest.raises(Invalid, match=r"1\.39"):
        requests.traits(["in:A"], may_forbid=True, may_choose=False)
    assert requests.traits(["A", "B"], may_forbid=True, may_choose=False).names == {"B"}


def test_versions_that_are_refused(admin: Client) -> None:
    assert "Unacceptable version header: 0.9" in error(admin, "/resource_providers", "0.9", 406)["detail"]
    assert "invalid version string: pony.horse" in error(admin, "/resource_providers", "pony.horse")["detail"]
    assert error(admin, "/barnabas", "1.23", 404)["code"] == "placement.undefined_code"
    assert admin("GET", "/resource_providers", version="1.0").headers["Vary"] == "openstack-api-version"
