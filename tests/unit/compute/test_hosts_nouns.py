"""Services, hypervisors and availability zones: what the API shows of hosts."""

from __future__ import annotations

from typing import Any

from tests.client import Client
from tests.unit.nouns import Nouns

LEGACY = {"host": "up", "binary": "nova-compute"}


def services(api: Client, query: str = "", version: str = "") -> dict[str, dict[str, Any]]:
    found = api.ok("GET", f"/os-services{query}", version=version)["services"]
    return {one["host"]: one for one in found}


def test_services_and_their_state(admin: Client, demo: Client) -> None:
    found = services(admin)
    assert {host: one["state"] for host, one in found.items()} == {"up": "up", "down": "down"}
    assert found["up"]["binary"] == "nova-compute" and found["up"]["forced_down"] is False
    assert services(admin, "", "2.52")["up"]["id"] == 1 and "forced_down" not in services(admin, "", "2.10")["up"]
    assert list(services(admin, "?host=down")) == ["down"]
    assert services(admin, "?binary=nova-scheduler") == {}
    assert demo("GET", "/os-services").status_code == 403


def test_disable_and_enable(admin: Client) -> None:
    path = f"/os-services/{services(admin)['up']['id']}"
    body = {"status": "disabled", "disabled_reason": "repair", "forced_down": True}
    changed = admin.ok("PUT", path, json=body)["service"]
    assert (changed["status"], changed["disabled_reason"], changed["state"]) == ("disabled", "repair", "down")
    changed = admin.ok("PUT", path, json={"status": "enabled", "forced_down": False})["service"]
    assert (changed["status"], changed["disabled_reason"], changed["state"]) == ("enabled", None, "up")
    for wrong in (
        {},
        {"status": "nope"},
        {"status": "enabled", "disabled_reason": "x"},
        {"disabled_reason": "x"},
    ):
        assert admin("PUT", path, json=wrong).status_code == 400
    assert admin("PUT", "/os-services/1", json={"status": "enabled"}).status_code == 400
    unknown = "00000000-0000-0000-0000-000000000000"
    missing = admin("PUT", f"/os-services/{unknown}", json={"status": "enabled"})
    assert missing.status_code == 404
    assert missing.json["itemNotFound"]["message"] == f"Service {unknown} could not be found."


def test_the_older_forms(admin: Client) -> None:
    def put(verb: str, version: str = "2.11", **more: Any) -> Any:
        return admin("PUT", f"/os-services/{verb}", version=version, json={**LEGACY, **more})

    assert put("disable").json == {"service": {**LEGACY, "status": "disabled"}}
    noted = put("disable-log-reason", disabled_reason="x")
    assert noted.json == {"service": {**LEGACY, "status": "disabled", "disabled_reason": "x"}}
    assert put("enable").json == {"service": {**LEGACY, "status": "enabled"}}
    assert put("force-down", forced_down=True).json == {"service": {**LEGACY, "forced_down": True}}
    assert put("disable-log-reason").status_code == 400
    assert put("force-down", "2.10").status_code == 404
    assert put("nope").status_code == 404
    assert put("enable", host="nope").status_code == 404
    assert put("enable", binary="nova-scheduler").status_code == 400


def test_zones(admin: Client, demo: Client) -> None:
    shown = demo.ok("GET", "/os-availability-zone")["availabilityZoneInfo"]
    assert shown == [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]
    assert demo("GET", "/os-availability-zone/detail").status_code == 403
    hosts = admin.ok("GET", "/os-availability-zone/detail")["availabilityZoneInfo"][0]["hosts"]
    assert hosts["up"]["nova-compute"]["available"] is True
    assert hosts["down"]["nova-compute"]["available"] is False
    for host in ("up", "down"):
        admin.ok("PUT", "/os-services/disable", version="2.1", json={**LEGACY, "host": host})
    assert demo.ok("GET", "/os-availability-zone")["availabilityZoneInfo"][0]["zoneState"] == {"available": False}


def test_hypervisors_use(admin: Client) -> None:
    down = admin.ok("GET", "/os-hypervisors/2", version="2.28")["hypervisor"]
    assert (down["vcpus"], down["vcpus_used"], down["memory_mb_used"]) == (8, 2, 1536)
    assert (down["free_ram_mb"], down["free_disk_gb"]) == (14464, 100)
    assert down["cpu_info"] == {"arch": "x86_64"}
    assert down["service"] == {"id": 2, "host": "down", "disabled_reason": None}
    assert admin.ok("GET", "/os-hypervisors/2", version="2.27")["hypervisor"]["cpu_info"] == '{"arch":"x86_64"}'
    statistics = admin.ok("GET", "/os-hypervisors/statistics", version="2.87")["hypervisor_statistics"]
    assert (statistics["count"], statistics["vcpus"], statistics["memory_mb_used"]) == (2, 16, 2048)
    assert admin("GET", "/os-hypervisors/statistics", version="2.88").status_code == 404


def test_hypervisors_at_the_newest_version(nouns: Nouns, admin: Client, demo: Client) -> None:
    found = admin.ok("GET", "/os-hypervisors/detail?with_servers=true")["hypervisors"]
    down = next(one for one in found if one["hypervisor_hostname"] == "down")
    assert down["id"] == nouns.provider_id and down["servers"] == [] and "vcpus" not in down
    assert down["uptime"] is None and down["state"] == "down"
    assert admin.ok("GET", f"/os-hypervisors/{down['id']}")["hypervisor"]["host_ip"] == "192.0.2.1"
    assert admin("GET", "/os-hypervisors/2").status_code == 400
    for key in ("nope", "9", str(10**15)):
        answer = admin("GET", f"/os-hypervisors/{key}", version="2.52")
        assert answer.status_code == 404 and key in answer.json["itemNotFound"]["message"]
    for path in ("", "/detail", "/nope", f"/{down['id']}"):
        assert demo("GET", f"/os-hypervisors{path}").status_code == 403


def test_hypervisor_pages_and_search(admin: Client) -> None:
    page = admin.ok("GET", "/os-hypervisors?limit=1")
    assert len(page["hypervisors"]) == 1 and "marker=" in page["hypervisors_links"][0]["href"]
    rest = admin.ok("GET", f"/os-hypervisors?marker={page['hypervisors'][0]['id']}")["hypervisors"]
    assert [one["hypervisor_hostname"] for one in rest] == ["down"]
    found = admin.ok("GET", "/os-hypervisors?hypervisor_hostname_pattern=ow")["hypervisors"]
    assert [one["hypervisor_hostname"] for one in found] == ["down"]
    assert admin("GET", "/os-hypervisors?hypervisor_hostname_pattern=ow&limit=1").status_code == 400
    assert admin("GET", "/os-hypervisors?hypervisor_hostname_pattern=nope").status_code == 404
    assert admin("GET", "/os-hypervisors?marker=nope").status_code == 400
    assert admin("GET", f"/os-hypervisors?marker={10**15}", version="2.52").status_code == 400
    assert [
        one["id"] for one in admin.ok("GET", "/os-hypervisors?limit=1&marker=1", version="2.33")["hypervisors"]
    ] == [2]
    assert len(admin.ok("GET", "/os-hypervisors?limit=1", version="2.32")["hypervisors"]) == 2
    assert len(admin.ok("GET", "/os-hypervisors?hypervisor_hostname_pattern=ow", version="2.52")["hypervisors"]) == 2
    assert len(admin.ok("GET", "/os-hypervisors/ow/search", version="2.52")["hypervisors"]) == 1
    assert "servers" not in admin.ok("GET", "/os-hypervisors/ow/servers", version="2.52")["hypervisors"][0]
    assert admin("GET", "/os-hypervisors/ow/search").status_code == 404


def test_uptime_is_not_supplied(admin: Client) -> None:
    answer = admin("GET", "/os-hypervisors/1/uptime", version="2.1")
    assert answer.status_code == 501 and "notImplemented" in answer.json
    assert admin("GET", "/os-hypervisors/9/uptime", version="2.1").status_code == 404
