"""Bad input and faults of compute: the documented code and message, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.api.compute import NEWEST, User
from tests.client import login


def refused(answer: Any, status: int, *words: str) -> str:
    """Asserts compute's error envelope; gives the message."""
    names = {400: "badRequest", 403: "forbidden", 404: "itemNotFound", 409: "conflictingRequest", 413: "overLimit"}
    assert answer.status_code == status, answer.text
    ((name, fault),) = answer.json().items()
    assert (name, fault["code"]) == (names[status], status)
    for word in words:
        assert word in fault["message"], fault["message"]
    return str(fault["message"])


# --- bodies and headers -----------------------------------------------------------------------------------------


def test_malformed_json(owner: User) -> None:
    for path in ("/servers", "/os-keypairs", "/servers/x/action"):
        answer = owner("POST", path, data=b'{"server": ', headers={"Content-Type": "application/json"})
        refused(answer, 400, "Malformed JSON")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"", b"\xff\xfe"])
def test_json_that_is_no_object(owner: User, body: bytes) -> None:
    refused(owner("POST", "/servers", data=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": " padded"}, "name"),
        ({"name": "bell\u0007"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": ...}, "name"),
        ({"flavorRef": ...}, "flavorRef"),
        ({"flavorRef": []}, "flavorRef"),
        ({"networks": {"uuid": "x"}}, "networks"),
        ({"networks": [{"uuid": "no-uuid"}]}, "networks.0.uuid"),
        ({"networks": [{"fixed_ip": "999.1.1.1"}]}, "networks.0.fixed_ip"),
        ({"metadata": {"a": {}}}, "metadata.a"),
        ({"min_count": 0}, "min_count"),
        ({"max_count": -1}, "max_count"),
        ({"min_count": "many"}, "min_count"),
        ({"max_count": 1001}, "max_count"),
        ({"min_count": 3, "max_count": 2}, "min_count"),
        ({"OS-DCF:diskConfig": "SOMETIMES"}, "OS-DCF:diskConfig"),
        ({"accessIPv4": "2001:db8::1"}, "accessIPv4"),
        ({"config_drive": "perhaps"}, "config_drive"),
        ({"security_groups": ["default"]}, "security_groups.0"),
        ({"user_data": "x" * 65536}, "user_data"),
        ({"tags": ["a"]}, "tags"),
        ({"description": "d"}, "description"),
        ({"hostname": "h1"}, "hostname"),
        ({"host": "fake-1"}, "host"),
    ],
)
def test_the_field_is_named(owner: User, image: str, change: dict[str, Any], field: str) -> None:
    """At 2.1, where neither tags, description, hostname nor host exist."""
    refused(owner.request_server("2.1", **{"imageRef": image} | change), 400, field)
    assert owner.get("/servers")["servers"] == []


def test_the_newest_version_wants_networks(owner: User, image: str) -> None:
    refused(owner.request_server(NEWEST, imageRef=image), 400, "networks")
    refused(owner.request_server("2.36", imageRef=image, networks="none"), 400, "networks")
    for tags in (["a,b"], ["a/b"], [""], ["x" * 61], [str(n) for n in range(51)]):
        refused(owner.request_server(NEWEST, imageRef=image, networks="none", tags=tags), 400, "tags")


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "sort_key=shoe", "sort_dir=up", "marker=nothing", "status=x"])
def test_bad_queries(owner: User, query: str) -> None:
    refused(owner("GET", f"/servers?{query}", version=NEWEST), 400)


def test_unknown_query_parameters_are_refused_from_2_75_on(owner: User) -> None:
    assert owner("GET", "/servers?shoe=1", version="2.74").status_code == 200
    refused(owner("GET", "/servers?shoe=1", version="2.75"), 400, "shoe")
    refused(owner("GET", "/servers?changes-since=yesterday"), 400, "changes-since")


def test_body_over_the_limit(owner: User) -> None:
    headers = {"Content-Type": "application/json"}
    refused(owner("POST", "/servers", data=b" " * (1024 * 1024 + 1), headers=headers), 413, "too large")
    chunks = (b" " * 65536 for _ in range(20))
    refused(owner("POST", "/servers", data=chunks, headers=headers), 413, "too large")


def test_microversions(owner: User) -> None:
    for version, status in (("2.105", 406), ("1.9", 406), ("3.0", 406), ("two", 400), ("2", 400), ("2.1.1", 400)):
        answer = owner("GET", "/servers", version=version)
        assert answer.status_code == status, version
        assert version in answer.json()["computeFault" if status == 406 else "badRequest"]["message"]
    other = owner("GET", "/servers", headers={"OpenStack-API-Version": "volume 3.0"})
    assert other.headers["OpenStack-API-Version"] == "compute 2.1"
    assert owner("GET", "/servers", version="latest").headers["OpenStack-API-Version"] == f"compute {NEWEST}"


def test_actions(owner: User, none: dict[str, Any]) -> None:
    server_id = owner.boot("2.37", **none)
    for body in (
        {},
        {"reboot": {}},
        {"reboot": {"type": "GENTLE"}},
        {"dance": None},
        {"os-stop": None, "os-start": None},
    ):
        refused(owner("POST", f"/servers/{server_id}/action", body), 400)
    refused(owner.act(server_id, "reboot", {"type": "SOFT", "now": 1}), 400, "now")
    refused(owner.act(server_id, "os-getConsoleOutput", {"length": "some"}), 400, "length")


def test_paths_and_methods(owner: User, nobody: User) -> None:
    assert owner("GET", "/nothing").status_code == 404
    answer = owner("PATCH", "/servers")
    assert answer.status_code == 405 and {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))
    assert nobody("GET", "/servers").status_code == 401
    text = owner("POST", "/servers", data=b"{}", headers={"Content-Type": "text/plain"})
    assert text.status_code == 415


# --- who --------------------------------------------------------------------------------------------------------


def test_wrong_password_and_no_token(nobody: User, root_user: User) -> None:
    url = f"{nobody.root}/identity/v3/auth/tokens"
    answer = requests.post(url, json=login("demo", "wrong", "demo"), timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 401)
    made_up = User(nobody.root, "gAAAAA-made-up")
    for user in (nobody, made_up):
        answer = user("GET", "/servers")
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Keystone uri=")
    for path in ("/compute", "/compute/v2.1", "/image", "/network", "/placement", "/identity", "/identity/v3"):
        assert nobody("GET", path).status_code in (200, 300), path


def routes_of(server_id: str) -> list[tuple[str, str, Any]]:
    """Every route of a server, with a valid body."""
    path = f"/servers/{server_id}"
    return [
        ("GET", path, None),
        ("PUT", path, {"server": {"name": "stolen"}}),
        ("DELETE", path, None),
        *(
            ("POST", f"{path}/action", body)
            for body in (
                {"os-stop": None}, {"os-start": None}, {"reboot": {"type": "HARD"}}, {"os-getConsoleOutput": {}},
                {"lock": None}, {"unlock": None},
            )
        ),
        ("GET", f"{path}/os-instance-actions", None),
        ("GET", f"{path}/metadata", None),
        ("POST", f"{path}/metadata", {"metadata": {"a": "1"}}),
        ("PUT", f"{path}/metadata", {"metadata": {"a": "1"}}),
        ("GET", f"{path}/metadata/a", None),
        ("PUT", f"{path}/metadata/a", {"meta": {"a": "1"}}),
        ("DELETE", f"{path}/metadata/a", None),
        ("GET", f"{path}/tags", None),
        ("PUT", f"{path}/tags", {"tags": []}),
        ("DELETE", f"{path}/tags", None),
        ("PUT", f"{path}/tags/t", None),
        ("GET", f"{path}/ips", None),
        ("GET", f"{path}/os-interface", None),
        ("GET", f"{path}/os-security-groups", None),
    ]  # fmt: skip


def test_another_projects_server_does_not_exist(owner: User, stranger: User, none: dict[str, Any]) -> None:
    server_id = owner.boot("2.37", **none, metadata={"a": "1"}, name="mine")
    owner("PUT", f"/servers/{server_id}/tags", {"tags": ["t"]}, NEWEST)
    events = owner.get(f"/servers/{server_id}/os-instance-actions")["instanceActions"]
    before = owner.server(server_id)
    more = [("GET", f"/servers/{server_id}/os-instance-actions/{events[0]['request_id']}", None)]
    for method, path, body in routes_of(server_id) + more:
        refused(stranger(method, path, body, NEWEST), 404, server_id)
    assert stranger.get("/servers")["servers"] == []
    assert stranger.get("/servers?all_tenants=0")["servers"] == []
    refused(stranger("GET", "/servers?all_tenants=1"), 403)
    assert owner.server(server_id) == before


def test_a_reader_may_look_but_not_act(owner: User, reader: User, none: dict[str, Any]) -> None:
    server_id = owner.boot("2.37", **none, metadata={"a": "1"})
    before = owner.server(server_id)
    assert reader.server(server_id)["id"] == server_id
    for method, path, body in routes_of(server_id):
        answer = reader(method, path, body, NEWEST)
        if method == "GET":
            assert answer.status_code == 200, path
        else:
            refused(answer, 403)
    refused(reader.request_server("2.37", **none), 403)
    assert owner.server(server_id) == before


# --- what does not fit ------------------------------------------------------------------------------------------


def test_things_that_do_not_exist(owner: User, none: dict[str, Any]) -> None:
    nothing = "11111111-2222-3333-4444-555555555555"
    refused(owner.request_server("2.37", **none | {"imageRef": nothing}), 400, "Can not find requested image")
    refused(owner.request_server("2.37", **none, flavorRef="m9"), 400, "Flavor m9 could not be found.")
    refused(owner.request_server("2.37", **none, key_name="nokey"), 400, "Invalid key_name provided.")
    refused(owner.request_server("2.37", **none, security_groups=[{"name": "nogroup"}]), 400, "nogroup")
    refused(owner.request_server("2.37", **none | {"networks": [{"uuid": nothing}]}), 400, nothing)
    refused(owner.request_server("2.37", **none | {"networks": [{"port": nothing}]}), 400, nothing)
    refused(owner.request_server("2.37", **none, user_data="abcde"), 400, "base64")
    refused(owner.request_server("2.37", **none | {"imageRef": ""}), 400, "imageRef")


def test_flavor_too_small_for_the_image(owner: User, root_user: User) -> None:
    def image(**values: Any) -> str:
        body = {"name": "big", "disk_format": "raw", "container_format": "bare", "visibility": "public", **values}
        made = root_user("POST", "/image/v2/images", body).json()["id"]
        headers = {"Content-Type": "application/octet-stream"}
        root_user("PUT", f"/image/v2/images/{made}/file", data=bytes(1024), headers=headers)
        return str(made)

    memory, disk = image(min_ram=4096), image(min_disk=40)
    refused(
        owner.request_server("2.37", imageRef=memory, networks="none"),
        400,
        "Flavor's memory is too small for requested image.",
    )
    refused(
        owner.request_server("2.37", imageRef=disk, networks="none"),
        400,
        "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1073741824 bytes, "
        "minimum size is 42949672960 bytes.",
    )
    assert owner.get("/servers")["servers"] == []
    for one in (memory, disk):
        root_user("DELETE", f"/image/v2/images/{one}")


def test_quota(owner: User, root_user: User, none: dict[str, Any], left: Callable[[], dict[str, int]]) -> None:
    path = f"/os-quota-sets/{owner.project_id}"
    before = left()
    root_user("PUT", path, {"quota_set": {"instances": 2}})
    try:
        refused(
            owner.request_server("2.37", **none, min_count=3),
            403,
            "Quota exceeded for instances: Requested 3, but already used 0 of 2 instances",
        )
        assert owner.get("/servers")["servers"] == [] and left() == before
        root_user("PUT", path, {"quota_set": {"instances": 10, "cores": 1, "ram": 100}})
        refused(owner.request_server("2.37", **none), 403, "ram", "Requested 192", "of 100 ram")
    finally:
        root_user("DELETE", path)


def test_quota_under_parallel_requests(owner: User, root_user: User, none: dict[str, Any]) -> None:
    path = f"/os-quota-sets/{owner.project_id}"
    root_user("PUT", path, {"quota_set": {"instances": 5}})
    try:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: owner.request_server("2.37", **none).status_code, range(20)))
        assert sorted(answers) == [202] * 5 + [403] * 15
        assert len(owner.get("/servers")["servers"]) == 5
        assert owner.get("/limits")["limits"]["absolute"]["totalInstancesUsed"] == 5
    finally:
        root_user("DELETE", path)


def test_one_address_is_given_once(owner: User, network: str) -> None:
    port = {"network_id": network, "fixed_ips": [{"ip_address": "10.1.77.7"}]}

    def ask(_: int) -> Any:
        return owner("POST", "/network/v2.0/ports", {"port": port})

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
    made = [one.json()["port"]["id"] for one in answers if one.status_code == 201]
    assert len(made) == 1 and {one.status_code for one in answers} == {201, 409}
    owner("DELETE", f"/network/v2.0/ports/{made[0]}")


def test_one_port_goes_to_one_server(owner: User, image: str, network: str) -> None:
    port = owner("POST", "/network/v2.0/ports", {"port": {"network_id": network}}).json()["port"]["id"]

    def ask(_: int) -> Any:
        return owner.request_server("2.37", imageRef=image, networks=[{"port": port}])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    servers = [one.json()["server"]["id"] for one in answers if one.status_code == 202]
    assert servers and {one.status_code for one in answers} <= {202, 409}
    states = [owner.settled(one)["status"] for one in servers]
    assert states.count("ACTIVE") == 1
    bound = owner("GET", f"/network/v2.0/ports/{port}").json()["port"]["device_id"]
    assert states[servers.index(bound)] == "ACTIVE"
    owner.clear()
    assert owner("GET", f"/network/v2.0/ports/{port}").json()["port"]["device_id"] == ""
    owner("DELETE", f"/network/v2.0/ports/{port}")
